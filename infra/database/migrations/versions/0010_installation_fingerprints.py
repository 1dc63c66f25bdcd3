"""Fingerprints of the keys, and the installation's id"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "installation_fingerprints",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("retired_by", sa.Text(), nullable=True),
        sa.Column("retired_because", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("kind", "generation", name=op.f("pk_installation_fingerprints")),
        sa.CheckConstraint(
            "kind IN ('installation', 'pseudonym-key', 'signing-key')", name=op.f("ck_installation_fingerprints_kind")
        ),
        comment="Fingerprints of the keys, one row per key; the highest generation is in use. The kind `installation` "
        "holds the random id that var and lake hold too. A public signing key stays trusted until `retired_at`.",
    )


def downgrade() -> None:
    op.drop_table("installation_fingerprints")

"""Digests of trained, reviewed and promoted bundles"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "trained_bundles",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("run_key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("dataset_version", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("evaluation_digest", sa.Text(), nullable=False),
        sa.Column("trained_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_trained_bundles")),
        comment="What training stored in MLflow, by run: `digest` is of the bundle's manifest, `evaluation_digest` of "
        "the measured figures. Artifacts in MLflow that differ are refused.",
    )
    # Empty in older rows: what was reviewed then is reviewed again before it can be promoted.
    op.add_column("reviews", sa.Column("run_id", sa.Text(), nullable=True))
    op.add_column("reviews", sa.Column("digest", sa.Text(), nullable=True))
    op.add_column("promotions", sa.Column("run_id", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("promotions", "run_id")
    op.drop_column("reviews", "digest")
    op.drop_column("reviews", "run_id")
    op.drop_table("trained_bundles")

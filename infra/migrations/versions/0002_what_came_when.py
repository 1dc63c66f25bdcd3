"""What was said when, so that nothing depends on the order in which files come in"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

_MOMENTS = (("items", "said_at"), ("users", "said_at"), ("users", "consent_at"), ("ingest_batches", "late_before"))


def upgrade() -> None:
    for table, name in _MOMENTS:
        op.add_column(table, sa.Column(name, sa.DateTime(timezone=True)))
    op.add_column("ingest_batches", sa.Column("late", sa.BigInteger(), server_default="0", nullable=False))
    request = postgresql.JSONB(astext_type=sa.Text())
    op.add_column("ingest_batches", sa.Column("request", request, server_default="{}", nullable=False))
    op.create_table(
        "ingest_updates",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("said", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("said_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(["batch_id"], ["ingest_batches.batch_id"], name=op.f("fk_ingest_updates_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "chunk", "kind", "key", name=op.f("pk_ingest_updates")),
        comment="What a batch on its way in says of items, users and devices; it counts once the batch is committed.",
    )


def downgrade() -> None:
    op.drop_table("ingest_updates")
    op.drop_column("ingest_batches", "request")
    op.drop_column("ingest_batches", "late")
    for table, name in reversed(_MOMENTS):
        op.drop_column(table, name)

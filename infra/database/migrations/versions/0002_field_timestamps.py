"""What was said when, so that nothing depends on the order in which files come in"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

_MOMENTS = (("users", "consent_at"), ("users", "refused_at"), ("ingest_batches", "late_before"))
_TIMES = ("items", "users")
_JSON = postgresql.JSONB(astext_type=sa.Text())
_WHOSE = "Which device turned out to be whose, "
_LATEST = """
    DELETE FROM aliases AS older USING aliases AS newer WHERE older.anonymous_key = newer.anonymous_key
        AND (coalesce(older.occurred_at, '-infinity'), older.user_key)
            < (coalesce(newer.occurred_at, '-infinity'), newer.user_key)"""


def upgrade() -> None:
    for table in _TIMES:
        op.add_column(table, sa.Column("said_at", _JSON, server_default="{}", nullable=False))
    for table, name in _MOMENTS:
        op.add_column(table, sa.Column(name, sa.DateTime(timezone=True)))
    op.add_column("ingest_batches", sa.Column("late", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("ingest_batches", sa.Column("request", _JSON, server_default="{}", nullable=False))
    op.create_table(
        "ingest_updates",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("said", _JSON, nullable=False),
        sa.Column("times", _JSON, server_default="{}", nullable=False),
        sa.Column("said_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(["batch_id"], ["ingest_batches.batch_id"], name=op.f("fk_ingest_updates_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "chunk", "kind", "key", name=op.f("pk_ingest_updates")),
        comment="What a batch on its way in says of items, users and devices; it counts once the batch is committed.",
    )
    op.drop_constraint("pk_aliases", "aliases")
    op.create_primary_key("pk_aliases", "aliases", ["anonymous_key", "user_key"])
    op.create_table_comment("aliases", _WHOSE + "the latest counts: data sets join what it did to the user.")


def downgrade() -> None:
    op.execute(_LATEST)
    op.drop_constraint("pk_aliases", "aliases")
    op.create_primary_key("pk_aliases", "aliases", ["anonymous_key"])
    op.create_table_comment("aliases", _WHOSE[:-2] + ": data sets join what it did before to the user.")
    op.drop_table("ingest_updates")
    op.drop_column("ingest_batches", "request")
    op.drop_column("ingest_batches", "late")
    for table, name in reversed(_MOMENTS):
        op.drop_column(table, name)
    for table in _TIMES:
        op.drop_column(table, "said_at")

"""The daily use of page keys, the first day of each visitor, and the items whose messages wait"""

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"

# Serving may not read messages; this names the items among the given ones whose messages wait.
_WAITING_ITEMS = """
    CREATE FUNCTION waiting_items(items text[]) RETURNS SETOF text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
        SELECT payload ->> 'item_id' FROM event_inbox
        WHERE (batch_id IS NULL OR batch_id IS NOT NULL AND moved_at IS NULL)  -- each by an index
            AND kind = 'item' AND payload ->> 'item_id' = ANY ($1)
    $$"""


def upgrade() -> None:
    """Create the table, the column and the function. Visitors of before are known from earlier days."""
    op.create_table(
        "key_usage",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False, comment="In UTC."),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", "day", name="pk_key_usage"),
        comment="What pages sent with each key, of all processes together. A spent quota keeps new visitors out.",
    )
    seen = sa.Column("first_seen_on", sa.Date(), nullable=False, server_default="1970-01-01", comment="The day in UTC.")
    op.add_column("users", seen)
    op.alter_column("users", "first_seen_on", server_default=sa.text("(now() AT TIME ZONE 'UTC')::date"))
    op.execute(_WAITING_ITEMS)
    op.execute("REVOKE ALL ON FUNCTION waiting_items FROM PUBLIC")


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP FUNCTION waiting_items")
    op.drop_column("users", "first_seen_on")
    op.drop_table("key_usage")

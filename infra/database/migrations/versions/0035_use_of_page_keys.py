"""The items whose messages wait"""

from alembic import op

revision = "0035"
down_revision = "0033"

# Serving may not read messages; this names the items among the given ones whose messages wait.
_WAITING_ITEMS = """
    CREATE FUNCTION waiting_items(items text[]) RETURNS SETOF text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
        SELECT payload ->> 'item_id' FROM event_inbox
        WHERE kind = 'item' AND moved_at IS NULL AND payload ->> 'item_id' = ANY ($1)
    $$"""


def upgrade() -> None:
    """Create the function."""
    op.execute(_WAITING_ITEMS)
    op.execute("REVOKE ALL ON FUNCTION waiting_items FROM PUBLIC")


def downgrade() -> None:
    """Drop the function."""
    op.execute("DROP FUNCTION waiting_items")

"""Views that hide rows from their readers"""

from alembic import op

revision = "0011"
down_revision = "0010"

_VIEWS = ("current_recommendations", "current_item_recommendations", "recommendations_by_user_id")


def upgrade() -> None:
    # Else a condition of the reader, such as a cast that fails, runs before the view's own and shows hidden rows.
    for view in _VIEWS:
        op.execute(f"ALTER VIEW {view} SET (security_barrier = true)")
    op.execute(
        "CREATE FUNCTION identity.user_key(user_id text) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER "
        "SET search_path = pg_catalog, pg_temp "
        "RETURN (SELECT known.user_key FROM identity.users AS known WHERE known.user_id = $1)"
    )
    op.execute("COMMENT ON FUNCTION identity.user_key IS 'The key of one raw id, for roles that may not list all.'")
    op.execute("REVOKE ALL ON FUNCTION identity.user_key FROM PUBLIC")


def downgrade() -> None:
    op.execute("DROP FUNCTION identity.user_key")
    for view in _VIEWS:
        op.execute(f"ALTER VIEW {view} RESET (security_barrier)")

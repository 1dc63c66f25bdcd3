"""The collector: keys that may only send events, and Segment's calls in the inbox"""

from alembic import op

revision = "0024"
down_revision = "0023"

_SCOPES = "'read', 'write', 'admin'"
_KINDS = "'event', 'item', 'user', 'impressions'"


def upgrade() -> None:
    """Allow the new scope and the new kind."""
    _allow(f"{_SCOPES}, 'collect'", f"{_KINDS}, 'call'")


def downgrade() -> None:
    """End the keys of the collector, delete its messages, and allow neither."""
    op.execute("DELETE FROM api_keys WHERE 'collect' = ANY(scopes)")
    op.execute("DELETE FROM event_inbox WHERE kind = 'call'")
    _allow(_SCOPES, _KINDS)


def _allow(scopes: str, kinds: str) -> None:
    for table, name, condition in (
        ("api_keys", "ck_api_keys_scopes", f"scopes <@ ARRAY[{scopes}] AND cardinality(scopes) > 0"),
        ("event_inbox", "ck_event_inbox_kind", f"kind IN ({kinds})"),
    ):
        op.drop_constraint(op.f(name), table)
        op.create_check_constraint(op.f(name), table, condition)

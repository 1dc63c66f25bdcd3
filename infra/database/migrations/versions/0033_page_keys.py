"""A public key speaks for its own visitor only: kinds of keys, who states the user of a message, quotas of pages"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"

_CLAIMED = "Whether only a page states that it is this user's, without a signature of the shop's server."
_OWNER = (
    "The user of each device: the latest row that is no claim, else the claim. Data sets add a device's events to its "
    "user."
)
_LATEST_OWNER = "The user of each device; the latest row counts. Data sets add a device's events to its user."
_INBOX = (
    sa.Column(
        "earlier_key",
        sa.Text(),
        comment="The key that the device's id has as the id of a user, and had before devices got keys of their own. "
        "It finds events that come again, and earlier ids of users.",
    ),
    sa.Column(
        "authority",
        sa.Text(),
        nullable=False,
        server_default="server",
        comment="Who states the user: server (a server's key), signed (a page, with the server's signature), claim (a "
        "page without it), or page (a page that names none).",
    ),
)

# Serving may not read messages; this names the items among the given ones whose messages wait.
_WAITING_ITEMS = """
    CREATE FUNCTION waiting_items(items text[]) RETURNS SETOF text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
        SELECT payload ->> 'item_id' FROM event_inbox
        WHERE (batch_id IS NULL OR batch_id IS NOT NULL AND moved_at IS NULL)  -- each by an index
            AND kind = 'item' AND payload ->> 'item_id' = ANY ($1)
    $$"""


def upgrade() -> None:
    """Add the columns. Existing keys that only send events may be in pages, and so may have sent what waits."""
    op.add_column(
        "api_keys",
        sa.Column("kind", sa.Text(), comment="page: everybody can read the key. server: only its holder."),
    )
    op.execute("UPDATE api_keys SET kind = CASE WHEN scopes = ARRAY['collect'] THEN 'page' ELSE 'server' END")
    op.alter_column("api_keys", "kind", nullable=False)
    op.create_check_constraint(
        op.f("ck_api_keys_kind"), "api_keys", "kind = 'server' OR kind = 'page' AND scopes = ARRAY['collect']"
    )
    for column in _INBOX:
        op.add_column("event_inbox", column)
    op.create_check_constraint(
        op.f("ck_event_inbox_authority"), "event_inbox", "authority IN ('server', 'signed', 'page', 'claim')"
    )
    # A message that comes again has another device key, and so another digest: its id alone finds it.
    op.execute(
        "UPDATE event_inbox SET digest = NULL, authority = CASE WHEN kind <> 'call' THEN 'server' "
        "WHEN user_key IS NULL THEN 'page' ELSE 'claim' END"
    )
    op.add_column("aliases", _claimed())
    op.execute(f"COMMENT ON TABLE aliases IS '{_OWNER.replace(chr(39), 2 * chr(39))}'")
    op.add_column("session_profiles", _claimed())
    _profile_key("subject", "claimed")
    op.execute(
        "DELETE FROM identity.users AS known WHERE NOT EXISTS (SELECT FROM users WHERE consent AND "
        "users.user_key = known.user_key)"
    )
    _quotas()
    _allow_reasons("'malformed', 'too_large', 'id_conflict', 'poison', 'broker'")
    _add("session_profiles", "kinds", sa.ARRAY(sa.Text()), "{}", "The type of the event on each item.")
    orders = "Whether refunds of the batch take back only purchases of the order that they name."
    _add("ingest_batches", "refund_order", sa.Boolean(), "false", orders)
    op.create_table(
        "item_appearances",
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("item_id", name="pk_item_appearances"),
        comment="When a catalogue or an event first named an item.",
    )


def downgrade() -> None:
    """Drop the columns, and what pages only claim."""
    op.drop_table("item_appearances")
    op.drop_column("ingest_batches", "refund_order")
    op.drop_column("session_profiles", "kinds")
    op.execute("DELETE FROM identity.dead_letters WHERE reason = 'too_large'")
    _allow_reasons("'malformed', 'id_conflict', 'poison', 'broker'")
    op.execute("DROP FUNCTION waiting_items")
    op.drop_column("users", "first_seen_on")
    op.drop_table("key_usage")
    for table in ("session_profiles", "aliases"):
        op.execute(f"DELETE FROM {table} WHERE claimed")
    _profile_key("subject")
    op.drop_column("session_profiles", "claimed")
    op.drop_column("aliases", "claimed")
    op.execute(f"COMMENT ON TABLE aliases IS '{_LATEST_OWNER.replace(chr(39), 2 * chr(39))}'")
    for column in _INBOX:
        op.drop_column("event_inbox", column.name)
    op.drop_column("api_keys", "kind")


def _claimed() -> sa.Column[bool]:
    return sa.Column("claimed", sa.Boolean(), nullable=False, server_default="false", comment=_CLAIMED)


def _profile_key(*columns: str) -> None:
    op.drop_constraint(op.f("pk_session_profiles"), "session_profiles")
    op.create_primary_key(op.f("pk_session_profiles"), "session_profiles", list(columns))


def _quotas() -> None:
    """Count what pages send. Visitors of before are known from earlier days."""
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


def _allow_reasons(reasons: str) -> None:
    op.drop_constraint("ck_dead_letters_reason", "dead_letters", schema="identity")
    op.create_check_constraint("ck_dead_letters_reason", "dead_letters", f"reason IN ({reasons})", schema="identity")


def _add(table: str, name: str, kind: sa.types.TypeEngine[Any], default: str, comment: str) -> None:
    op.add_column(table, sa.Column(name, kind, server_default=default, nullable=False, comment=comment))

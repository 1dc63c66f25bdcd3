"""A public key speaks for its own visitor only: kinds of keys, and who states the user of a message"""

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


def downgrade() -> None:
    """Drop the columns, and what pages only claim."""
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

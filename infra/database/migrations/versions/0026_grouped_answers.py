"""Many answers that were shown are one row of the inbox; rows count their messages, and notify nobody"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"

_KINDS = "'event', 'item', 'user', 'impressions', 'call'"
_MESSAGES = "CASE WHEN kind = 'answers' THEN coalesce(jsonb_array_length(payload -> 'recommendation_id'), 0) ELSE 1 END"
_COMMENT = (
    "Messages of applications, with pseudonyms instead of raw ids, until a batch of the ledger moves them. "
    "Moved rows stay for a day, so that a message that comes twice has one effect; {} are deleted at once."
)


def upgrade() -> None:
    """Allow the new kind, and leave out what costs time at each row and helps nobody."""
    _allow(f"{_KINDS}, 'answers'")
    number = sa.Column(
        "messages",
        sa.Integer(),
        sa.Computed(_MESSAGES, persisted=True),
        nullable=False,
        comment="How many messages the row counts as: each answer that was shown is one.",
    )
    op.add_column("event_inbox", number)
    op.execute("DROP TRIGGER notify_servers ON event_inbox")
    _index_moved(sa.text("moved_at IS NOT NULL"))
    op.create_table_comment("event_inbox", _COMMENT.format("answers that were shown"))


def downgrade() -> None:
    """Make rows of single answers of those that wait, and restore the index and the notifications."""
    op.execute(_SINGLE)
    op.execute("DELETE FROM event_inbox WHERE kind = 'answers'")
    op.drop_column("event_inbox", "messages")
    _allow(_KINDS)
    _index_moved(None)
    op.execute(
        "CREATE TRIGGER notify_servers AFTER INSERT ON event_inbox FOR EACH STATEMENT "
        "EXECUTE FUNCTION notify_servers_of_table()"
    )
    op.create_table_comment("event_inbox", _COMMENT.format("impressions"))


_OWN = ("items", "first_position", "batch_id", "model_version", "variant", "propensity", "source", "placement")
_SINGLE = f"""
    INSERT INTO event_inbox (source, message_id, kind, user_key, session_key, key_version, consent, payload,
        received_at, batch_id, moved_at, outcome)
    SELECT source, payload -> 'recommendation_id' ->> place, 'impressions', payload -> 'user_key' ->> place,
        payload -> 'session_key' ->> place, key_version, (payload -> 'consent' ->> place)::boolean,
        jsonb_build_object({", ".join(f"'{name}', payload -> '{name}' -> place" for name in _OWN)}),
        least((payload -> 'shown_at' ->> place)::timestamptz, received_at), batch_id, moved_at, outcome
    FROM event_inbox, generate_series(0, messages - 1) AS place WHERE kind = 'answers'
    ORDER BY inbox_id, place ON CONFLICT DO NOTHING"""


def _allow(kinds: str) -> None:
    op.drop_constraint(op.f("ck_event_inbox_kind"), "event_inbox")
    op.create_check_constraint(op.f("ck_event_inbox_kind"), "event_inbox", f"kind IN ({kinds})")


def _index_moved(rows: sa.TextClause | None) -> None:
    op.drop_index("ix_event_inbox_moved_at", "event_inbox")
    op.create_index("ix_event_inbox_moved_at", "event_inbox", ["moved_at"], postgresql_where=rows)

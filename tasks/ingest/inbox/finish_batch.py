"""Marks the rows of a committed batch as moved, and keeps the inbox small."""

from typing import Final

from sqlalchemy import Connection, text

_SHOWN: Final = "DELETE FROM event_inbox WHERE batch_id = :batch_id AND kind IN ('answers', 'impressions')"
# The digest alone finds a message that comes again.
_MOVED: Final = """
    UPDATE event_inbox SET moved_at = now(), outcome = 'moved', payload = '{}', user_key = NULL, session_key = NULL,
        earlier_key = NULL
    WHERE batch_id = :batch_id AND moved_at IS NULL"""
_REFUSED: Final = """
    UPDATE event_inbox SET moved_at = now(), outcome = 'refused' WHERE batch_id = :batch_id AND moved_at IS NULL"""
_OUTDATED: Final = (
    "DELETE FROM event_inbox WHERE moved_at < now() - interval '1 day' AND outcome = 'moved'",
    """
    DELETE FROM session_profiles AS profile WHERE expires_at < now()
        OR EXISTS (SELECT FROM suppressions WHERE user_key = profile.subject)
        OR EXISTS (SELECT FROM users WHERE user_key = profile.subject AND NOT consent)""",
    """
    DELETE FROM live_recommendations AS list WHERE expires_at < now()
        OR NOT EXISTS (SELECT FROM users WHERE user_key = list.user_key AND consent)
        OR EXISTS (SELECT FROM suppressions WHERE user_key = list.user_key)""",
    """
    DELETE FROM identity.dead_letters
    WHERE replayed_at < now() - interval '7 days' OR last_at < now() - interval '90 days'""",
    "DELETE FROM served_answers WHERE shown_at < now() - interval '90 days'",
    "DELETE FROM answer_counts WHERE since < now() - interval '2 days'",
)


def finish_batch(connection: Connection, batch_id: str) -> None:
    """Delete the answers of a batch that were shown, and mark its other rows as moved."""
    for statement in (_SHOWN, _MOVED):
        connection.execute(text(statement), {"batch_id": batch_id})


def refuse_rows(connection: Connection, batch_id: str) -> None:
    """Mark the rows of a refused batch. They stay, for a person to look at."""
    connection.execute(text(_REFUSED), {"batch_id": batch_id})


def remove_outdated(connection: Connection) -> None:
    """Delete moved rows, expired profiles, lists and dead letters, and answers and counts of long ago."""
    for statement in _OUTDATED:
        connection.execute(text(statement))

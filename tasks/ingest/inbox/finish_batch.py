"""Marks the rows of a committed batch as moved, and keeps the inbox small; the reconciler imports it without DuckDB."""

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, text

from infra.configuration.retention import Retention

_SHOWN: Final = "DELETE FROM event_inbox WHERE batch_id = :batch_id AND kind IN ('answers', 'impressions')"
# The digest alone finds a message that comes again.
_MOVED: Final = """
    UPDATE event_inbox SET moved_at = now(), outcome = 'moved', payload = '{}', user_key = NULL, session_key = NULL,
        earlier_key = NULL
    WHERE batch_id = :batch_id AND moved_at IS NULL"""
_REFUSED: Final = """
    UPDATE event_inbox SET moved_at = now(), outcome = 'refused' WHERE batch_id = :batch_id AND moved_at IS NULL"""
_OUTDATED: Final = text(Path(__file__).with_name("remove_outdated.sql").read_text())


def finish_batch(connection: Connection, batch_id: str) -> None:
    """Delete the answers of a batch that were shown, and mark its other rows as moved."""
    for statement in (_SHOWN, _MOVED):
        connection.execute(text(statement), {"batch_id": batch_id})


def refuse_rows(connection: Connection, batch_id: str) -> None:
    """Mark the rows of a refused batch. They stay, for a person to look at."""
    connection.execute(text(_REFUSED), {"batch_id": batch_id})


def remove_outdated(connection: Connection, kept: Retention) -> None:
    """Delete moved rows, expired profiles, lists and dead letters, and answers and counts of long ago."""
    periods = {"dead_letters": kept.dead_letters, "served_answers": kept.served_answers}
    connection.execute(_OUTDATED, periods)

"""Tells Prefect of messages that ask for lists of a segment. An automation starts `score` for each."""

from typing import Final

from sqlalchemy import text

from infra.installation import Installation
from infra.prefect_api import events

_WAITING: Final = text("""
    SELECT inbox_id, payload ->> 'segment' AS segment FROM event_inbox
    WHERE kind = 'score' AND moved_at IS NULL ORDER BY inbox_id LIMIT 100""")
_DONE: Final = text("UPDATE event_inbox SET moved_at = now(), outcome = 'moved' WHERE inbox_id = :inbox_id")


def announce_segments(installation: Installation) -> str | None:
    """Emit an event for each waiting message; returns a line about them. While Prefect is down they wait.

    After a kill an event may come twice: its users are scored once more.
    """
    with installation.engine.connect() as connection:
        waiting = connection.execute(_WAITING).all()
    announced = []
    for row in waiting:
        payload = {"segment": row.segment, "reason": f"A message asks for the lists of the segment {row.segment}."}
        if not events.try_emit(installation.endpoints, events.SEGMENT, f"tailorbird.message.{row.inbox_id}", payload):
            break
        with installation.engine.begin() as connection:
            connection.execute(_DONE, {"inbox_id": row.inbox_id})
        announced.append(row.segment)
    return f"Messages asked for lists of {', '.join(announced)}." if announced else None

"""Reads what waits in the inbox, and on the disk of this host."""

from pathlib import Path
from typing import TypedDict

from sqlalchemy import Connection, text

from serving.events.spool import FOLDER, Spool

_COUNTS = """
    SELECT coalesce(sum(messages) FILTER (WHERE moved_at IS NULL), 0) AS waiting,
        coalesce(sum(messages) FILTER (WHERE outcome = 'refused'), 0) AS refused,
        extract(epoch FROM now() - min(received_at) FILTER (WHERE moved_at IS NULL))::float AS oldest_seconds
    FROM event_inbox WHERE (moved_at IS NULL OR outcome = 'refused') AND kind <> 'score'"""


class InboxState(TypedDict):
    """The messages of applications that are in no batch yet. Requests for lists of segments never are in one."""

    waiting: int
    oldest_seconds: float | None
    """The age of the oldest one."""
    refused: int
    """Messages of refused batches, which stay in the inbox."""


class SpoolCounts(TypedDict):
    """The messages on the disk of this host: they came while PostgreSQL was down."""

    messages: int
    dropped: int
    """Messages that found no room."""
    refused: int
    """Messages that PostgreSQL refused."""


def inbox_state(connection: Connection) -> InboxState:
    """Return what waits in PostgreSQL."""
    row = connection.execute(text(_COUNTS)).one()
    return {"waiting": row.waiting, "oldest_seconds": row.oldest_seconds, "refused": row.refused}


def spool_counts(var: Path) -> SpoolCounts:
    """Return what waits on disk in `var`."""
    state = Spool(var / FOLDER, 0).state()
    return {"messages": state.messages, "dropped": state.dropped, "refused": state.refused}

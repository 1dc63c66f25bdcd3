"""Removes what interrupted or refused batches left, and finishes interrupted undos, before another changes the lake."""

from contextlib import suppress
from typing import Final

from sqlalchemy import Connection, delete, select

from infra import locks
from infra.database.schema.schema import identities, users
from infra.installation import Installation, current
from infra.keys.trust import KeyRotatingError
from tasks.ingest import ledger
from tasks.ingest.rows import repeated_events as events
from tasks.ingest.rows.quarantine import unmark_resolved

_CUT_SHORT: Final = "It was cut short, and nothing of it counts. Ingest the same file again, or undo it."


def settle_idle() -> None:
    """Clean up interrupted runs, unless another run holds the lake's events and so cleans up itself.

    Call it after an ingest, because an ingest without new events has not cleaned up before.
    """
    installation = current()
    with installation.engine.connect() as connection:
        due = ledger.interrupted(connection, "") or ledger.undoing(connection)
        connection.rollback()  # and with it the locks
    if due:
        with (
            suppress(locks.LockHeldError, KeyRotatingError),
            locks.locked(installation.engine, "the lake's events"),
        ):
            settle(installation)


def settle(installation: Installation, batch_id: str = "") -> None:
    """Remove the rows of other interrupted batches, because the repeats of a batch refused later would be lost.

    Call it under the lock of the lake's events. A run that lost the database, and so its lock, may still write this
    batch to the lake: that write fails from here on.
    """
    with installation.engine.connect() as connection:
        others, recorded = ledger.unfinished(connection, batch_id), ledger.last_recorded_chunk(connection, batch_id)
        undoing = ledger.undoing(connection)
    stored = installation.lake.committed_chunk(batch_id)
    if recorded > stored:
        installation.lake.claim(batch_id, stored)
    # The lake first: after an interruption here the other batches start again and replace their PostgreSQL rows.
    installation.lake.remove_batch(*others)
    with installation.engine.begin() as connection:
        for other in others:
            remove_introduced(connection, other)
            ledger.delete_chunks(connection, other)
    with installation.engine.begin() as connection:
        for other in ledger.interrupted(connection, batch_id):
            if undone := events.latest_undo(connection, other):
                ledger.set_status(connection, other, ledger.UNDONE, events.detail_of(undone))
            else:
                ledger.set_status(connection, other, ledger.PENDING, _CUT_SHORT)
    for other in undoing:
        events.finish(installation, other)


def remove_introduced(connection: Connection, batch_id: str) -> None:
    """Remove the users that a refused batch introduced, except refusals that an undo left there."""
    introduced = (users.c.batch_id == batch_id, users.c.refused_at.is_(None))
    keys = select(users.c.user_key).where(*introduced)
    connection.execute(delete(identities).where(identities.c.user_key.in_(keys)))
    connection.execute(delete(users).where(*introduced))
    unmark_resolved(connection, batch_id)

"""Settles what was cut short before a batch changes the lake: ingests that were killed, and undos."""

from contextlib import suppress
from typing import Final

from infra.installation import Installation, current
from infra.keys.trust import KeyRotatingError
from infra.locks import advisory_locks
from tasks.ingest import ledger
from tasks.ingest.events.chunk_writer import forget
from tasks.ingest.undo import events

_CUT_SHORT: Final = "It was cut short, and nothing of it counts. Ingest the same file again, or undo it."


def settle_idle() -> None:
    """Settle what was cut short, unless another run is at the lake's events: that one does it when it begins.

    Call it after an ingest: one that changes nothing, or no events, has settled nothing before.
    """
    installation = current()
    with installation.engine.connect() as connection:
        due = ledger.interrupted(connection, "") or ledger.undoing(connection)
        connection.rollback()  # and with it the locks
    if due:
        with (
            suppress(advisory_locks.LockHeldError, KeyRotatingError),
            advisory_locks.locked(installation.engine, "the lake's events"),
        ):
            settle(installation)


def settle(installation: Installation, batch_id: str = "") -> None:
    """Remove what other batches left that were cut short: if one was refused later, its repeats would be lost.

    Call it under the lock of the lake's events. A run that lost the database, and with it its lock, may be at its last
    write of this batch to the lake: that write fails from here on.
    """
    with installation.engine.connect() as connection:
        others, recorded = ledger.unfinished(connection, batch_id), ledger.recorded(connection, batch_id)
        undoing = ledger.undoing(connection)
    stored = installation.lake.committed_chunk(batch_id)
    if recorded > stored:
        installation.lake.claim(batch_id, stored)
    # The lake first: cut short here, the other batches begin again and replace what Postgres has of them.
    installation.lake.remove_batch(*others)
    with installation.engine.begin() as connection:
        for other in others:
            forget(connection, other)
            ledger.forget_chunks(connection, other)
    with installation.engine.begin() as connection:
        for other in ledger.interrupted(connection, batch_id):
            if undone := events.latest_undo(connection, other):
                ledger.set_status(connection, other, ledger.UNDONE, events.detail_of(undone))
            else:
                ledger.set_status(connection, other, ledger.PENDING, _CUT_SHORT)
    for other in undoing:
        events.finish(installation, other)

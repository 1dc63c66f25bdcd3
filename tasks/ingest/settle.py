"""Settles what was cut short before a batch changes the lake: ingests that were killed, and undos."""

from infra.installation import Installation
from tasks import ledger
from tasks.ingest import undo_events
from tasks.intake import forget


def settle(here: Installation, batch_id: str = "") -> None:
    """Remove what other batches left that were cut short: if one was refused later, its repeats would be lost.

    Call it under the lock of the lake's events. A run that lost the database, and with it its lock, may be at its last
    write of this batch to the lake: that write fails from here on.
    """
    with here.engine.connect() as connection:
        others, recorded = ledger.unfinished(connection, batch_id), ledger.recorded(connection, batch_id)
        undoing = ledger.undoing(connection)
    stored = here.lake.committed_chunk(batch_id)
    if recorded > stored:
        here.lake.claim(batch_id, stored)
    # The lake first: cut short here, the other batches begin again and replace what Postgres has of them.
    here.lake.remove_batch(*others)
    with here.engine.begin() as connection:
        for other in others:
            forget(connection, other)
            ledger.forget_chunks(connection, other)
    for other in undoing:
        undo_events.finish(here, other)

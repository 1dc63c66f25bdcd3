"""Moves the inbox: every message once, in batches that are claimed before anything is written."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import pyarrow as pa
from prefect import task

from infra import locks
from infra.installation import Installation, current
from infra.locks import LockHeldError
from models.ingest.source_config import SourceMapping
from tasks.ingest import ledger
from tasks.ingest.events.event_batch import ChunkReader, ingest_batch
from tasks.ingest.inbox import call_chunks, claims
from tasks.ingest.inbox.claims import Dataset, Due
from tasks.ingest.inbox.event_chunks import read_chunks
from tasks.ingest.inbox.finish_batch import finish_batch, refuse_rows, remove_outdated
from tasks.ingest.inbox.inbox_mapping import call_mapping, inbox_mapping
from tasks.ingest.inbox.move_updates import move_updates
from tasks.ingest.inbox.rows import InboxRow, claimed_rows, repeat_late_exclusions
from tasks.ingest.inbox.shown_answers import answers_of, store_origins
from tasks.ingest.ledger_records import LedgerEntry
from tasks.orchestration.guards import without_values
from tasks.quality.suites import BatchRefusedError

NOW: Final = Due()
"""Every waiting row is due."""


def due_of(installation: Installation) -> Due:
    """Return when acts and impressions become a batch, by the settings."""
    return Due(installation.settings.inbox_seconds, installation.settings.inbox_rows)


def move_inbox(installation: Installation, dataset: Dataset, due: Due, *, wait: bool = False) -> list[str]:
    """Move the rows that an earlier run claimed, then all that are due; returns the batches.

    A batch that another process moves now is left to it, or with `wait` it is also moved when this returns. Raises the
    error of the first batch that failed, after the others were moved: an old batch that fails holds no new rows back,
    but after a new one that fails no more rows are claimed.
    """
    moved: list[str] = []
    errors: list[Exception] = []

    def move(batches: list[ledger.Batch]) -> None:
        for batch in batches:
            try:
                if _is_moved(installation, dataset, batch, wait=wait):
                    moved.append(batch.batch_id)
            except Exception as error:  # a defect in one batch must not hold the others back
                errors.append(error)

    with installation.engine.connect() as connection:
        batches = claims.claimed(connection, dataset)
    move(batches)
    earlier = len(errors)
    while len(errors) == earlier:
        with installation.engine.begin() as connection:
            batches = claims.claim(connection, dataset, due)
        if not batches:
            break
        move(batches)
    with installation.engine.begin() as connection:
        remove_outdated(connection)
    if errors:
        raise errors[0]
    return moved


def move_calls(installation: Installation, batch: ledger.Batch) -> None:
    """Ingest the calls of a batch as `move_events` does."""
    mapping = call_mapping(installation.settings, batch.source)

    def reader(rows: Sequence[InboxRow], _answers: pa.Table) -> ChunkReader:
        return partial(call_chunks.read_chunks, rows, mapping)

    _move(installation, replace(batch, consent=mapping.consent_note), mapping, reader)


def move_events(installation: Installation, batch: ledger.Batch) -> None:
    """Ingest the messages of a batch, or continue where an earlier run stopped; then mark them as moved.

    Raises BatchRefusedError for a batch that was refused, whose rows stay in the inbox, and LockHeldError if another
    process moves it now.
    """
    _move(installation, batch, inbox_mapping(batch.source), lambda rows, answers: partial(read_chunks, rows, answers))


def _move(
    installation: Installation,
    batch: ledger.Batch,
    mapping: SourceMapping,
    reader: Callable[[Sequence[InboxRow], pa.Table], ChunkReader],
) -> None:
    with installation.engine.connect() as connection:
        rows = claimed_rows(connection, batch.batch_id, installation.key)
        committed = ledger.statuses(connection, [batch.batch_id]).get(batch.batch_id) == ledger.COMMITTED
    answers = answers_of(rows)
    if not committed:
        try:
            ingest_batch(installation, mapping, batch, reader(rows, answers), len(rows))
        except BatchRefusedError:
            with installation.engine.begin() as connection:
                refuse_rows(connection, batch.batch_id)
            raise
    with installation.engine.begin() as connection:
        repeat_late_exclusions(connection, rows)
        store_origins(connection, answers)
        finish_batch(connection, batch.batch_id)


_MOVES: Final[dict[Dataset, Callable[[Installation, ledger.Batch], None]]] = {
    "updates": move_updates,
    "events": move_events,
    "calls": move_calls,
}


def _is_moved(installation: Installation, dataset: Dataset, batch: ledger.Batch, *, wait: bool) -> bool:
    """Move a batch; returns False if another process moves it now, unless this may `wait`."""
    while True:
        try:
            _MOVES[dataset](installation, batch)
        except LockHeldError:
            if not wait:
                return False
            with locks.locked(installation.engine, batch.batch_id, wait=True):
                continue  # it has ended, or was killed and this process goes on
        return True


@task(description="Move the waiting messages of the inbox: each is stored, quarantined or counted, once.")
@without_values
def move_waiting() -> list[LedgerEntry]:
    """Move all messages that wait; returns the lines of their batches in the ledger."""
    installation = current()
    datasets: tuple[Dataset, ...] = ("updates", "events", "calls")
    batches = [batch for dataset in datasets for batch in move_inbox(installation, dataset, NOW, wait=True)]
    with installation.engine.connect() as connection:
        lines = ledger.entries(connection, batches)
    return [lines[name] for name in batches if name in lines]

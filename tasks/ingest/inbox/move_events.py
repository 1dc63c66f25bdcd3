"""Moves acts and impressions into the lake, with the rules, the consent and the ledger of every other source."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import pyarrow as pa

from infra.installation import Installation
from models.ingest.source_config import SourceMapping
from tasks.ingest import ledger
from tasks.ingest.events.event_batch import ChunkReader, ingest_batch
from tasks.ingest.inbox import call_chunks
from tasks.ingest.inbox.event_chunks import read_chunks
from tasks.ingest.inbox.finish_batch import finish_batch, refuse_rows
from tasks.ingest.inbox.inbox_mapping import call_mapping, inbox_mapping
from tasks.ingest.inbox.late_exclusions import repeat_late_exclusions
from tasks.ingest.inbox.rows import InboxRow, claimed_rows
from tasks.ingest.inbox.shown_answers import answers_of, store_origins
from tasks.quality.suites import BatchRefusedError


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

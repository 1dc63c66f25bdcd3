"""Ingests small files of events in groups: validated and committed together, each with its line in the ledger."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from infra.installation import Installation
from infra.locks import advisory_locks
from models import columns
from models.errors import TailorbirdError
from models.ingest.source_config import SourceMapping
from models.ingest.tabular.unreadable_cells import merge_unreadable
from tasks.ingest import ledger
from tasks.ingest.events import chunk_writer
from tasks.ingest.events.batch_context import BatchContext, Met, open_context
from tasks.ingest.events.classification import triage_together
from tasks.ingest.events.event_batch import EventFile, expectations_of, figures_of
from tasks.ingest.events.event_chunk import EventChunk, PreparedChunk
from tasks.ingest.events.group_validation import Candidate, validate_together
from tasks.ingest.rows import apply
from tasks.ingest.rows.quarantine import close_group
from tasks.ingest.rows.settle import remove_introduced, settle
from tasks.ingest.validation import row_triage
from tasks.orchestration.progress import progress
from tasks.quality.chunk_profile import ChunkProfile
from tasks.quality.findings import first_refused
from tasks.quality.suites import reading_notes

GROUP_ROWS: Final = 500_000
"""As many rows as a large file has in memory: the chunk that is stored and the one that is read."""
GROUP_FILES: Final = 200
_READERS: Final = 2
"""Files that are read at a time: most of the work on a small file uses one core."""


def ingest_group(installation: Installation, mapping: SourceMapping, files: Sequence[EventFile]) -> int:
    """Ingest files as if one after the other; returns how many of the first ones are committed.

    The next file has to be ingested alone: it cannot be read, is refused, or was committed meanwhile. No rows of it and
    of later files are kept. Rows that earlier runs left of these files are removed first. Raises LockHeldError.
    """
    about = f"{len(files)} files of {mapping.name}"
    with advisory_locks.locked(installation.engine, *(file.batch.batch_id for file in files), purpose=about):
        with installation.engine.begin() as connection:
            statuses = ledger.open_batches(connection, [file.batch for file in files])
        if ledger.COMMITTED in statuses:
            return 0
        with advisory_locks.locked(installation.engine, "the lake's events", wait=True) as confirm:
            settle(installation)
            return _ingest(*open_context(installation, mapping, files[0].batch, confirm), files)


def _ingest(context: BatchContext, met: Met, files: Sequence[EventFile]) -> int:
    chunks = _read(context, files)
    if len(chunks) < 2:
        return 0
    expected = expectations_of(context)
    prepared, samples, late_before = _prepare(context, met, files, chunks)
    batches = [chunk.batch for chunk in prepared]
    context.confirm()
    with context.installation.engine.begin() as connection:
        ledger.set_late_before(connection, late_before)
        profiles = chunk_writer.record(context, connection, prepared)
    candidates = [
        Candidate(batch.batch_id, sample, figures_of(context, expected, [profile]))
        for batch, sample, profile in zip(batches, samples, profiles, strict=True)
    ]
    verdicts = validate_together("events", expected, candidates)
    accepted = first_refused(verdicts)
    _discard(context, batches[accepted:])
    if accepted:
        events = pa.concat_tables([chunk.accepted for chunk in prepared[:accepted]])
        closed = [*zip(verdicts, map(_notes, profiles), strict=True)][:accepted]
        _store(context, events, batches[:accepted], closed)
    return accepted


def _read(context: BatchContext, files: Sequence[EventFile]) -> list[EventChunk]:
    """Read the first files, up to one that is not a single chunk with the same columns."""
    chunks: list[EventChunk] = []
    shown = progress(f"events of {len(files)} files", sum(file.rows for file in files))
    with ThreadPoolExecutor(_READERS) as pool, shown as advance:
        for file, chunk in zip(files, pool.map(partial(_only_chunk, context), files), strict=True):
            if chunk is None or (chunks and chunk.events.schema != chunks[0].events.schema):
                pool.shutdown(cancel_futures=True)
                break
            chunks.append(chunk)
            advance(file.rows)
    return chunks


def _only_chunk(context: BatchContext, file: EventFile) -> EventChunk | None:
    """Return a file as one chunk; None if it has several or cannot be read."""
    try:
        chunks = [chunk for chunk, _ in file.read_chunks(context)]
    except TailorbirdError:
        return None
    return chunks[0] if len(chunks) == 1 else None


def _prepare(
    context: BatchContext, met: Met, files: Sequence[EventFile], chunks: Sequence[EventChunk]
) -> tuple[list[PreparedChunk], list[pa.Table], dict[str, datetime]]:
    """Return the rows of all files in their order, their samples, and before which moments their events are late."""
    prepared: list[PreparedChunk] = []
    samples: list[pa.Table] = []
    moments: dict[str, datetime] = {}
    late_before = context.late_before
    for file, chunk, (classified, triaged) in zip(files, chunks, triage_together(context, met, chunks), strict=False):
        moments[file.batch.batch_id] = late_before
        own = replace(context, batch=file.batch, late_before=late_before)
        prepared.append(chunk_writer.prepare(own, met, chunk, classified, triaged, 0))
        samples.append(classified.sample(row_triage.SAMPLE_ROWS))
        newest = pc.max(prepared[-1].accepted[columns.OCCURRED_AT]).as_py()
        late_before = max(late_before, newest - ledger.LATE if newest else ledger.NEVER)
    return prepared, samples, moments


def _notes(profile: ChunkProfile) -> str | None:
    return reading_notes([profile], merge_unreadable([profile["unread"]] if "unread" in profile else []))


def _discard(context: BatchContext, batches: Sequence[ledger.Batch]) -> None:
    """Remove the PostgreSQL rows of files that are ingested again, alone or in another group."""
    if not batches:
        return
    context.confirm()
    with context.installation.engine.begin() as connection:
        for batch in batches:
            remove_introduced(connection, batch.batch_id)
            ledger.delete_chunks(connection, batch.batch_id)


def _store(
    context: BatchContext, events: pa.Table, batches: Sequence[ledger.Batch], verdicts: Sequence[ledger.Verdict]
) -> None:
    """Append the events of all files in one commit, then commit their batches in order."""
    names = [batch.batch_id for batch in batches]
    context.confirm()
    context.installation.lake.append_batches(events, names)
    context.confirm()
    with context.installation.engine.begin() as connection:
        apply.apply(connection, *names)
        close_group(connection, batches, verdicts)

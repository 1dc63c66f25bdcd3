"""Ingests small files of events in groups: validated and committed together, each with its line in the ledger."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, text

from infra.installation import Installation
from infra.locks import advisory_locks
from models import columns
from models.errors import TailorbirdError
from models.ingest.source_config import SourceMapping
from models.ingest.tabular.unreadable_cells import merge_unreadable
from tasks.ingest import ledger
from tasks.ingest.entity_updates import apply
from tasks.ingest.events import group_triage
from tasks.ingest.events.chunk_writer import Intake, remove_introduced
from tasks.ingest.events.event_batch import expectations_of, figures_of
from tasks.ingest.events.event_chunk import EventChunk, PreparedChunk
from tasks.ingest.events.open_intake import open_intake
from tasks.ingest.quarantine.resolved_rows import base_name, close_resolved, same_content
from tasks.ingest.undo.settle import settle
from tasks.ingest.validation import row_triage
from tasks.orchestration.progress import progress
from tasks.quality.findings import first_refused
from tasks.quality.suites import BatchExpectations, Candidate, Findings, reading_notes, validate_batches

GROUP_ROWS: Final = 500_000
"""As many rows as a large file has in memory: the chunk that is stored and the one that is read."""
GROUP_FILES: Final = 200
_READERS: Final = 2
"""Files that are read at a time: most of the work on a small file uses one core."""
_RESOLVING: Final = """
    WITH earlier AS MATERIALIZED (
        SELECT regexp_replace(location, '.*/', '') AS name,
            :prefix || split_part(substr(batch_id, length(:prefix) + 1), '-', 1) || '-' AS same_content
        FROM ingest_batches
        WHERE source = :source AND dataset = :dataset AND status = 'committed' AND quarantined > 0
    )
    SELECT batch_id FROM unnest(CAST(:batch_ids AS text[]), CAST(:contents AS text[]), CAST(:names AS text[]))
        AS coming (batch_id, same_content, name)
    WHERE name IN (SELECT name FROM earlier) OR same_content IN (SELECT same_content FROM earlier)
        OR EXISTS (SELECT FROM quarantine WHERE resolved_by = coming.batch_id)
        OR EXISTS (SELECT FROM quarantine JOIN ingest_batches AS batch USING (batch_id)
            WHERE quarantine.outcome = 'dismissed' AND batch.source = :source AND batch.dataset = :dataset)"""


@dataclass(frozen=True)
class GroupFile:
    """A file of events that is small enough to share a commit."""

    batch: ledger.Batch
    read_chunks: Callable[..., Iterator[tuple[EventChunk, int]]]
    """Reads it for an `Intake`; a group passes its own `prepare`."""
    rows: int
    identified: bool
    """Whether its events have ids."""


@dataclass(frozen=True)
class _Recorded:
    """A file whose PostgreSQL rows are stored, and whose batch is not committed yet."""

    batch: ledger.Batch
    events: pa.Table
    """The accepted events, with the columns of the lake."""
    candidate: Candidate
    notes: str | None
    """The ledger's remarks on the file."""


def ingest_group(installation: Installation, mapping: SourceMapping, files: Sequence[GroupFile]) -> int:
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
            return _ingest(open_intake(installation, mapping, files[0].batch, confirm), files)


def _ingest(intake: Intake, files: Sequence[GroupFile]) -> int:
    chunks = _read(intake, files)
    if len(chunks) < 2:
        return 0
    expected = expectations_of(intake)
    recorded = _record(intake, expected, files, chunks)
    verdicts = validate_batches("events", expected, [one.candidate for one in recorded])
    accepted = first_refused(verdicts)
    _discard(intake, recorded[accepted:])
    if accepted:
        _store(intake, recorded[:accepted], verdicts)
    return accepted


def _read(intake: Intake, files: Sequence[GroupFile]) -> list[EventChunk]:
    """Read the first files, up to one that is not a single chunk with the same columns."""
    chunks: list[EventChunk] = []
    shown = progress(f"events of {len(files)} files", sum(file.rows for file in files))
    with ThreadPoolExecutor(_READERS) as pool, shown as advance:
        for file, chunk in zip(files, pool.map(partial(_only_chunk, intake), files), strict=True):
            if chunk is None or (chunks and chunk.events.schema != chunks[0].events.schema):
                pool.shutdown(cancel_futures=True)
                break
            chunks.append(chunk)
            advance(file.rows)
    return chunks


def _only_chunk(intake: Intake, file: GroupFile) -> EventChunk | None:
    """Return a file as one chunk; None if it has several or cannot be read."""
    try:
        chunks = [chunk for chunk, _ in file.read_chunks(intake, prepare=group_triage.numbered)]
    except TailorbirdError:
        return None
    return chunks[0] if len(chunks) == 1 else None


def _record(
    intake: Intake, expected: BatchExpectations, files: Sequence[GroupFile], chunks: Sequence[EventChunk]
) -> list[_Recorded]:
    """Triage the rows of all files in their order, and store their PostgreSQL rows in one transaction."""
    prepared: list[PreparedChunk] = []
    samples: list[pa.Table] = []
    moments: dict[str, datetime] = {}
    late_before = intake.late_before
    triaged_files = group_triage.triage(intake, chunks, identified=files[0].identified)
    for batch, (chunk, classified, triaged) in zip([file.batch for file in files], triaged_files, strict=False):
        moments[batch.batch_id] = late_before
        intake = replace(intake, batch=batch, late_before=late_before)
        prepared.append(intake.prepare(chunk, classified, triaged, 0))
        late_before = max(late_before, _late_after(prepared[-1].accepted))
        samples.append(classified.sample(row_triage.SAMPLE_ROWS))
    intake.confirm()
    with intake.installation.engine.begin() as connection:
        ledger.set_late_before(connection, moments)
        profiles = intake.record(connection, prepared)
    return [
        _Recorded(
            one.batch,
            one.accepted,
            Candidate(one.batch.batch_id, sample, figures_of(intake, expected, [profile])),
            reading_notes([profile], merge_unreadable([profile["unread"]] if "unread" in profile else [])),
        )
        for one, sample, profile in zip(prepared, samples, profiles, strict=True)
    ]


def _late_after(events: pa.Table) -> datetime:
    """Return the moment before which a later file's events are late once these are committed."""
    newest = pc.max(events[columns.OCCURRED_AT]).as_py()
    return newest - ledger.LATE if newest else ledger.NEVER


def _discard(intake: Intake, recorded: Sequence[_Recorded]) -> None:
    """Remove the PostgreSQL rows of files that are ingested again, alone or in another group."""
    if not recorded:
        return
    intake.confirm()
    with intake.installation.engine.begin() as connection:
        for one in recorded:
            remove_introduced(connection, one.batch.batch_id)
            ledger.delete_chunks(connection, one.batch.batch_id)


def _store(intake: Intake, recorded: Sequence[_Recorded], verdicts: Sequence[Findings]) -> None:
    """Append the events of all files in one commit, then commit their batches in order."""
    events = pa.concat_tables([one.events for one in recorded])
    intake.confirm()
    intake.installation.lake.append_batches(events, [one.batch.batch_id for one in recorded])
    intake.confirm()
    with intake.installation.engine.begin() as connection:
        apply.apply(connection, *(one.batch.batch_id for one in recorded))
        closed = [(findings, one.notes) for one, findings in zip(recorded, verdicts, strict=False)]
        close_group(connection, [one.batch for one in recorded], closed)


def close_group(connection: Connection, batches: Sequence[ledger.Batch], verdicts: Sequence[ledger.Verdict]) -> None:
    """Commit batches of one source in their order, and close the quarantined rows that they resolve.

    The result is the same as of one commit after the other. A batch resolves rows of earlier batches only, so the later
    ones are committed after that.
    """
    resolving = _resolving(connection, batches)
    closing: dict[str, ledger.Verdict] = {}
    for batch, verdict in zip(batches, verdicts, strict=True):
        closing[batch.batch_id] = verdict
        if batch.batch_id in resolving:
            ledger.close_batches(connection, closing)
            close_resolved(connection, batch)
            closing = {}
    if closing:
        ledger.close_batches(connection, closing)


def _resolving(connection: Connection, batches: Sequence[ledger.Batch]) -> set[str]:
    """Return the batches that may resolve rows, by a mark, a dismissal, or a file of the same name or content."""
    source, dataset = batches[0].source, batches[0].dataset
    names = [base_name(batch.location) for batch in batches]
    parameters = {"source": source, "dataset": dataset, "prefix": f"{source}-{dataset}-", "names": names}
    parameters |= {"batch_ids": [batch.batch_id for batch in batches], "contents": [*map(same_content, batches)]}
    resolving = set(connection.execute(text(_RESOLVING), parameters).scalars())
    often = {name for name, times in Counter(names).items() if times > 1}
    return resolving | {batch.batch_id for batch, name in zip(batches, names, strict=True) if name in often}

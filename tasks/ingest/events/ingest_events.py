"""Ingests files of events: commits one chunk by chunk, or a group of small ones together or not at all."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, NoReturn, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from prefect import task

from expectations.batches import bounds, highest_quarantined, limited
from infra import locks
from infra.installation import Installation, current
from models import columns
from models.errors import TailorbirdError
from models.ingest.segment.segment_mapping import LineMapping, SegmentMapping
from models.ingest.source_config import SourceMapping
from models.ingest.tabular.table_mapping import Mapping
from models.ingest.tabular.unreadable_cells import UnreadableCells, merge_unreadable
from tasks.ingest import ledger
from tasks.ingest.events import chunk_readers, chunk_writer
from tasks.ingest.events.chunk_writer import PreparedChunk
from tasks.ingest.events.classification import (
    BatchContext,
    EventChunk,
    JoinedChunks,
    RunState,
    classify,
    join,
    open_context,
    triage_together,
)
from tasks.ingest.ledger import LedgerEntry
from tasks.ingest.rows import apply
from tasks.ingest.rows.quarantine import close_batches, resolve_renamed, subjects_of
from tasks.ingest.rows.settle import remove_rows, settle
from tasks.ingest.validation import row_triage
from tasks.ingest.validation.event_identity import ID_HASH
from tasks.orchestration import run_names
from tasks.orchestration.guards import without_values
from tasks.orchestration.progress import progress
from tasks.orchestration.run_artifacts import link_docs
from tasks.quality import suites
from tasks.quality.chunk_profile import ChunkProfile
from tasks.quality.findings import Findings
from tasks.quality.suites import first_refused
from tasks.sources import locations
from tasks.sources.mapping_files import M, part_of, read_as

T = TypeVar("T")
Store = Callable[[Installation, M, ledger.Batch, Path], LedgerEntry]
"""Stores a file as a batch; returns its line in the ledger."""
ChunkReader = Callable[[BatchContext], Iterator[tuple[EventChunk, int]]]
"""Yields chunks with their number of steps, always the same ones."""
GROUP_ROWS: Final = 250_000
"""As many rows as a chunk of a large file: one group is stored while the next one is read."""
GROUP_FILES: Final = 200
SHARED_ROWS: Final = 8 * GROUP_ROWS
"""After groups of so many rows the next one reads the reference data again."""
_READERS: Final = 2
"""Files that are read at a time: most of the work on a small file uses one core."""


@dataclass(frozen=True)
class EventFile:
    """A table of events with its batch."""

    batch: ledger.Batch
    read_chunks: Callable[..., Iterator[tuple[EventChunk, int]]]
    """A group reads it without `prepared`."""
    rows: int


def open_events(installation: Installation, mapping: Mapping, batch: ledger.Batch, path: Path) -> EventFile:
    """Return a table that keeps its contract; another one is refused in the ledger. Raises TailorbirdError."""
    part, tolerated = part_of(mapping, "events"), highest_quarantined("events", mapping.limits)
    try:
        rows = chunk_readers.validate_file(path, batch.location, part, tolerated)
    except TailorbirdError as error:
        # No model is trained while the newest file of a source is refused.
        with installation.engine.begin() as connection:
            ledger.open_batch(connection, batch)
            ledger.refuse_batch(connection, batch.batch_id, [], str(error))
        raise
    return EventFile(batch, partial(chunk_readers.read_table, installation, mapping, path), rows)


def ingest_batch(
    installation: Installation, mapping: SourceMapping, batch: ledger.Batch, read_chunks: ChunkReader, steps: int
) -> LedgerEntry:
    """Ingest a batch, or continue where an earlier run stopped; returns its line in the ledger.

    `read_chunks` yields the chunks; their steps add up to `steps`. Raises BatchRefusedError if the batch as a whole
    fails its suite: then none of its rows is kept.
    """
    bounds("events", mapping.limits)  # reports a misspelled limit before anything is stored
    with locks.locked(installation.engine, batch.batch_id):
        with installation.engine.begin() as connection:
            status = ledger.open_batch(connection, batch)
        if status != ledger.COMMITTED:
            # One writer at a time, or two batches could both store an event that neither finds in the lake.
            with locks.locked(installation.engine, "the lake's events", wait=True) as confirm:
                settle(installation, batch.batch_id)
                context, run = open_context(installation, mapping, batch, confirm)
                try:
                    sample = _write_chunks(context, run, read_chunks, steps)
                except TailorbirdError as error:  # reading failed in the middle
                    _remove_and_refuse(context, [], str(error))
                close(context, sample)
        else:
            with installation.engine.begin() as connection:
                resolve_renamed(connection, [batch])
        return ledger_entry(installation, batch.batch_id, unchanged=status == ledger.COMMITTED)


def ledger_entry(installation: Installation, batch_id: str, *, unchanged: bool = False) -> LedgerEntry:
    """Return a batch's line in the ledger, with its Data Docs; `unchanged` if it was committed before."""
    with installation.engine.connect() as connection:
        entry = ledger.entries(connection, [batch_id])[batch_id]
    entry["data_docs"] = link_docs(entry)["data_docs"]
    if unchanged:
        entry["status"] = ledger.UNCHANGED
    return entry


def prefetch(source: Iterator[T]) -> Iterator[T]:
    """Yield the elements of `source`, and compute the next one in another thread meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, source, None)
        while (element := following.result()) is not None:
            following = pool.submit(next, source, None)
            yield element


def _write_chunks(context: BatchContext, run: RunState, read_chunks: ChunkReader, steps: int) -> pa.Table:
    """Store the chunks that no earlier run has stored; returns a sample for the suite."""
    stored = context.installation.lake.committed_chunk(context.batch.batch_id)
    samples = []
    with progress(context.batch.dataset, steps) as advance:
        for number, (chunk, done) in enumerate(prefetch(read_chunks(context))):
            classified = classify(context, run, chunk)
            samples.append(classified.sample(max(1, row_triage.SAMPLE_ROWS * done // max(steps, 1))))
            if number > stored:
                chunk_writer.write(context, run, chunk, classified, number)
            else:
                list(chunk.updates(context, run))  # an earlier run has stored them; the next chunks continue from them
            advance(done)
    return row_triage.systematic_sample(pa.concat_tables(samples), row_triage.SAMPLE_ROWS)


def close(context: BatchContext, sample: pa.Table) -> None:
    """Validate a batch: commit it, or remove its rows from the lake."""
    batch, expected = context.batch, _expectations(context)
    with context.installation.engine.connect() as connection:
        profiles = ledger.chunk_profiles(connection, batch.batch_id)
    figures = _figures(context, expected, profiles)
    findings = suites.validate_batch(batch.batch_id, batch.dataset, expected, sample, figures)
    if reason := suites.refusal(findings, row_triage.rows_by_rule(profiles), _unread(profiles)):
        _remove_and_refuse(context, findings, reason)
    _commit(context, [batch], [(findings, suites.reading_notes(profiles, _unread(profiles)))])


def _commit(context: BatchContext, batches: Sequence[ledger.Batch], verdicts: Sequence[ledger.Verdict]) -> None:
    """Commit batches in their order, whose events are in the lake."""
    context.confirm()
    with context.installation.engine.begin() as connection:
        apply.apply(context.installation.lake, connection, *(batch.batch_id for batch in batches))
        close_batches(connection, batches, verdicts)


def _remove_and_refuse(context: BatchContext, findings: Findings, reason: str) -> NoReturn:
    context.confirm()
    context.installation.lake.remove_batch(context.batch.batch_id)
    refuse(context.installation, context.batch, findings, reason)


def _unread(profiles: Sequence[ChunkProfile]) -> list[UnreadableCells]:
    return merge_unreadable(profile["unread"] for profile in profiles if "unread" in profile)


def _expectations(context: BatchContext) -> suites.BatchExpectations:
    """Return the expectations on the events of a batch, with the limits of its mapping."""
    own = context.mapping.limits
    return suites.BatchExpectations(limited("events", context.rules, own), bounds("events", own))


def _figures(
    context: BatchContext, expected: suites.BatchExpectations, profiles: Sequence[ChunkProfile]
) -> dict[str, float | None]:
    """Return the figures of a batch by the profiles of its chunks; bounded figures without data are 0."""
    return dict.fromkeys(expected.bounds, 0.0) | row_triage.figures(profiles, context.now)


def refuse(installation: Installation, batch: ledger.Batch, findings: Findings, reason: str) -> NoReturn:
    """Record why a batch is refused, and raise suites.BatchRefusedError."""
    with installation.engine.begin() as connection:
        remove_rows(connection, batch.batch_id)
        ledger.refuse_batch(connection, batch.batch_id, findings, reason)
    page = link_docs({"batch_id": batch.batch_id, "dataset": batch.dataset, "status": ledger.REFUSED})["data_docs"]
    where = f" Its page: {page}" if page else ""
    raise suites.BatchRefusedError(f"Batch {batch.batch_id} was refused and nothing of it was kept. {reason}{where}")


@dataclass
class GroupWriter:
    """Ingests groups of files under one lock of the lake's events and with the same reference data, as of one file."""

    installation: Installation
    mapping: Mapping
    _held: ExitStack = field(default_factory=ExitStack)
    _state: tuple[BatchContext, RunState] | None = None
    """The reference data, and what the groups have met since they were read."""
    _rows: int = 0

    def close(self) -> None:
        """Release the lock. The next group reads the reference data again."""
        self._held.close()
        self._state, self._rows = None, 0

    def ingest(self, files: Sequence[EventFile], read: Callable[[], JoinedChunks | None]) -> int:
        """Ingest files as if one after the other; returns how many of the first ones are committed.

        `read` returns what `read_group` does for the files.

        The next file has to be ingested alone, after `close`: it cannot be read, is refused, or was committed
        meanwhile. No rows of it and of later files are kept. Rows that earlier runs left of these files are removed
        first. Raises LockHeldError.
        """
        installation, about = self.installation, f"{len(files)} files of {self.mapping.name}"
        with locks.locked(installation.engine, *(file.batch.batch_id for file in files), purpose=about):
            with installation.engine.begin() as connection:
                statuses = ledger.open_batches(connection, [file.batch for file in files])
            if ledger.COMMITTED in statuses:
                return 0
            (context, run), self._state = self._state or self._opened(files[0].batch), None
            joined = read()
            return self._store(context, run, files, joined) if joined else 0

    def _opened(self, batch: ledger.Batch) -> tuple[BatchContext, RunState]:
        self.close()
        confirm = self._held.enter_context(locks.locked(self.installation.engine, "the lake's events", wait=True))
        settle(self.installation)
        return open_context(self.installation, self.mapping, batch, confirm)

    def _store(self, context: BatchContext, run: RunState, files: Sequence[EventFile], joined: JoinedChunks) -> int:
        expected, engine = _expectations(context), self.installation.engine
        prepared, samples, moments, late_before = _prepare(context, run, files, joined)
        batches = [chunk.batch for chunk in prepared]
        context.confirm()
        with engine.begin() as connection:
            ledger.set_late_before(connection, moments)
            profiles = chunk_writer.record(context, connection, prepared)
        candidates = [
            suites.Candidate(batch.batch_id, sample, _figures(context, expected, [profile]))
            for batch, sample, profile in zip(batches, samples, profiles, strict=True)
        ]
        verdicts = suites.validate_batches("events", expected, candidates)
        accepted = first_refused(verdicts)
        context.confirm()
        if batches[accepted:]:
            with engine.begin() as connection:
                remove_rows(connection, *(batch.batch_id for batch in batches[accepted:]))  # they are ingested again
        if accepted:
            context.confirm()
            events = pa.concat_tables([chunk.accepted for chunk in prepared[:accepted]])
            context.installation.lake.append_batches(events, [batch.batch_id for batch in batches[:accepted]])
            notes = [suites.reading_notes([profile], _unread([profile])) for profile in profiles]
            _commit(context, batches[:accepted], [*zip(verdicts, notes, strict=True)][:accepted])
        self._rows += sum(file.rows for file in files)
        if accepted == len(files) and self._rows < SHARED_ROWS:
            self._state = _following(replace(context, late_before=late_before), run, prepared, joined), run
        return accepted


def _following(
    context: BatchContext, run: RunState, prepared: Sequence[PreparedChunk], joined: JoinedChunks
) -> BatchContext:
    """Return the context of the next group: it knows the users, events and quarantined rows of a committed one."""
    introduced = pa.concat_tables([chunk.introduced for chunk in prepared])[columns.USER_KEY].combine_chunks()
    run.agreed = pa.concat_arrays([run.agreed, introduced])
    run.event_ids.add(joined.whole.events[ID_HASH].to_numpy())
    waiting = subjects_of(pa.concat_tables([chunk.quarantined[0] for chunk in prepared], promote_options="default"))
    return replace(
        context,
        has_earlier_users=context.has_earlier_users or len(introduced) > 0,
        quarantined_subjects=pa.concat_arrays([context.quarantined_subjects, waiting]),
    )


def read_group(installation: Installation, mapping: Mapping, files: Sequence[EventFile]) -> JoinedChunks | None:
    """Read the first files, up to one that is not a single chunk with the same columns; None for fewer than two."""
    chunks: list[EventChunk] = []
    with ThreadPoolExecutor(_READERS) as pool:
        for chunk in pool.map(_only_chunk, files):
            if chunk is None or (chunks and chunk.events.schema != chunks[0].events.schema):
                pool.shutdown(cancel_futures=True)
                break
            chunks.append(chunk)
    return join(chunks, mapping, installation.key) if len(chunks) > 1 else None


def _only_chunk(file: EventFile) -> EventChunk | None:
    """Return a file as one chunk; None if it has several or cannot be read."""
    try:
        chunks = [chunk for chunk, _ in file.read_chunks(prepared=False)]
    except TailorbirdError:
        return None
    return chunks[0] if len(chunks) == 1 else None


def _prepare(
    context: BatchContext, run: RunState, files: Sequence[EventFile], joined: JoinedChunks
) -> tuple[list[PreparedChunk], list[pa.Table], dict[str, datetime], datetime]:
    """Return the rows of all files in their order, their samples, and before which moments their events are late.

    The last moment is that of the next file.
    """
    prepared: list[PreparedChunk] = []
    samples: list[pa.Table] = []
    moments: dict[str, datetime] = {}
    late_before = context.late_before
    with progress(f"events of {len(files)} files", sum(file.rows for file in files)) as advance:
        for file, (chunk, classified, triaged) in zip(files, triage_together(context, run, joined), strict=False):
            moments[file.batch.batch_id] = late_before
            own = replace(context, batch=file.batch, late_before=late_before)
            prepared.append(chunk_writer.prepare(own, run, chunk, classified, triaged, 0))
            samples.append(classified.sample(row_triage.SAMPLE_ROWS))
            newest = pc.max(prepared[-1].accepted[columns.OCCURRED_AT]).as_py()
            late_before = max(late_before, newest - ledger.LATE if newest else ledger.NEVER)
            advance(file.rows)
    return prepared, samples, moments, late_before


@task(
    task_run_name=run_names.of_file("ingest events"),
    description="Ingest events of one file: each row is stored, quarantined or counted, once.",
)
@without_values
def ingest_events(mapping: str, file: str, overrides: dict[str, str] | None = None) -> LedgerEntry:
    """Ingest one file of a mapping's events; returns the batch's line in the ledger.

    Ingesting the same file again changes nothing, and after a crash the ingest continues where it stopped. Raises
    ContractViolationError if the file lacks a column. Raises BatchRefusedError if the batch as a whole fails its suite:
    then only its line in the ledger is kept.
    """
    return ingest_file(Mapping, mapping, overrides, file, "events", store_events)


def ingest_file(
    kind: type[M], mapping: str, overrides: dict[str, str] | None, file: str, dataset: str, store: Store[M]
) -> LedgerEntry:
    """Store a file as a batch; returns the batch's line in the ledger."""
    installation, source = current(), read_as(kind, mapping, overrides)
    with locations.fetched(file, installation.settings.var) as path:
        batch = ledger.batch_of(source, dataset, path, file, ledger.request_of(mapping, overrides))
        return store(installation, source, batch, path)


def store_events(installation: Installation, tables: Mapping, batch: ledger.Batch, path: Path) -> LedgerEntry:
    """Ingest a table of events as a batch, as `ingest_events` does."""
    return ingest_single(installation, tables, open_events(installation, tables, batch, path))


def ingest_single(installation: Installation, tables: Mapping, file: EventFile) -> LedgerEntry:
    """Ingest a table of events chunk by chunk; returns its line in the ledger. Raises BatchRefusedError."""
    return ingest_batch(installation, tables, file.batch, lambda _context: file.read_chunks(), file.rows)


@task(
    task_run_name=run_names.of_file("ingest Segment calls"),
    description="Ingest one file of a Segment export: every line is accounted for.",
)
@without_values
def ingest_segment(mapping: str, file: str, overrides: dict[str, str] | None = None) -> LedgerEntry:
    """Ingest a file of Segment's calls; returns the batch's line in the ledger.

    Ingesting the same file again changes nothing, and after a crash the ingest continues where it stopped. Raises
    BatchRefusedError.
    """
    return ingest_file(SegmentMapping, mapping, overrides, file, "events", store_lines)


def store_lines(installation: Installation, calls: LineMapping, batch: ledger.Batch, path: Path) -> LedgerEntry:
    """Ingest lines of an export as a batch, as `ingest_segment` does."""
    read_chunks = partial(chunk_readers.read_lines, mapping=calls, path=path, address=batch.location)
    return ingest_batch(installation, calls, batch, read_chunks, path.stat().st_size)

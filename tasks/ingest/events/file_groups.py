"""Groups of small files of events: judged together and stored by one commit, each with its own line in the ledger."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
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
from tasks.ingest.entity_updates import apply
from tasks.ingest.events import group_triage
from tasks.ingest.events.chunk_writer import Intake, Part, PreparedChunk, forget
from tasks.ingest.events.close_group import close_group
from tasks.ingest.events.event_batch import figures_of, promises_of
from tasks.ingest.events.group_validation import Candidate, judge_together
from tasks.ingest.events.open_intake import open_intake
from tasks.ingest.undo.settle import settle
from tasks.ingest.validation import row_triage
from tasks.orchestration.progress import progress
from tasks.quality.suites import BatchExpectations, Findings, reading_notes, refusal

GROUP_ROWS: Final = 500_000
"""As many rows as a large file has in memory at a time: the chunk that is stored and the one that is read."""
GROUP_FILES: Final = 200
_READERS: Final = 2
"""Files that are read at a time: most of the work on a small one keeps a single core busy."""


@dataclass(frozen=True)
class GroupFile:
    """A file of events that is small enough to share a commit."""

    batch: ledger.Batch
    parts: Callable[..., Iterator[tuple[Part, int]]]
    """Reads it, for an `Intake`; `prepare` may be what a group does in place of `prepared`."""
    rows: int
    identified: bool
    """Whether its events have ids."""


@dataclass(frozen=True)
class _Recorded:
    """What Postgres has of a file's batch, which is not committed yet."""

    batch: ledger.Batch
    events: pa.Table
    """The accepted events, as the lake keeps them."""
    candidate: Candidate
    notes: str | None
    """What the ledger remarks on how the file was read."""


def ingest_group(installation: Installation, mapping: SourceMapping, files: Sequence[GroupFile]) -> int:
    """Bring files in, as if one came after the other; returns how many of the first ones are committed.

    The next one has to be ingested alone: it cannot be read, is refused, or was committed meanwhile. Nothing of it and
    of those after it is kept. What earlier runs left of these files is removed first. Raises LockHeldError.
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
    parts = _readable(intake, files)
    if len(parts) < 2:
        return 0
    promises = promises_of(intake)
    recorded = _record(intake, promises, files, parts)
    verdicts = judge_together("events", promises, [one.candidate for one in recorded])
    sound = next((place for place, found in enumerate(verdicts) if refusal(found)), len(verdicts))
    _discard(intake, recorded[sound:])
    if sound:
        _store(intake, recorded[:sound], verdicts)
    return sound


def _readable(intake: Intake, files: Sequence[GroupFile]) -> list[Part]:
    """Read the first files, up to one that is no single chunk of the same columns, or no table at all."""
    found: list[Part] = []
    shown = progress(f"events of {len(files)} files", sum(file.rows for file in files))
    with ThreadPoolExecutor(_READERS) as pool, shown as advance:
        for file, part in zip(files, pool.map(partial(_only_part, intake), files), strict=True):
            if part is None or (found and part.events.schema != found[0].events.schema):
                pool.shutdown(cancel_futures=True)
                break
            found.append(part)
            advance(file.rows)
    return found


def _only_part(intake: Intake, file: GroupFile) -> Part | None:
    """Return a file as one chunk; None for one that has several, or that cannot be read."""
    try:
        parts = [part for part, _ in file.parts(intake, prepare=group_triage.numbered)]
    except TailorbirdError:
        return None
    return parts[0] if len(parts) == 1 else None


def _record(
    intake: Intake, promises: BatchExpectations, files: Sequence[GroupFile], parts: Sequence[Part]
) -> list[_Recorded]:
    """Sort the rows of all files, in their order, and store in one transaction what Postgres keeps of them."""
    kept: list[PreparedChunk] = []
    samples: list[pa.Table] = []
    moments: dict[str, datetime] = {}
    late_before = intake.late_before
    sorted_out = group_triage.triage(intake, parts, identified=files[0].identified)
    for batch, (part, looked, done) in zip([file.batch for file in files], sorted_out, strict=False):
        moments[batch.batch_id] = late_before
        intake = replace(intake, batch=batch, late_before=late_before)
        kept.append(intake.describe(part, looked, done, 0))
        late_before = max(late_before, _late_after(kept[-1].accepted))
        samples.append(looked.sample(row_triage.SAMPLE_ROWS))
    intake.confirm()
    with intake.installation.engine.begin() as connection:
        ledger.set_late_before(connection, moments)
        profiles = intake.record(connection, kept)
    return [
        _Recorded(
            one.batch,
            one.accepted,
            Candidate(one.batch.batch_id, sample, figures_of(intake, promises, [found])),
            reading_notes([found], merge_unreadable([found["unread"]] if "unread" in found else [])),
        )
        for one, sample, found in zip(kept, samples, profiles, strict=True)
    ]


def _late_after(events: pa.Table) -> datetime:
    """Return before which moment a later file's events would be late, once these are committed."""
    newest = pc.max(events[columns.OCCURRED_AT]).as_py()
    return newest - ledger.LATE if newest else ledger.NEVER


def _discard(intake: Intake, recorded: Sequence[_Recorded]) -> None:
    """Remove what Postgres has of files that are ingested again, alone or in another group."""
    if not recorded:
        return
    intake.confirm()
    with intake.installation.engine.begin() as connection:
        for one in recorded:
            forget(connection, one.batch.batch_id)
            ledger.forget_chunks(connection, one.batch.batch_id)


def _store(intake: Intake, recorded: Sequence[_Recorded], verdicts: Sequence[Findings]) -> None:
    """Append the events of all files in one commit, then let their batches count, in order."""
    events = pa.concat_tables([one.events for one in recorded])
    intake.confirm()
    intake.installation.lake.append_batches(events, [one.batch.batch_id for one in recorded])
    intake.confirm()
    with intake.installation.engine.begin() as connection:
        apply.apply(connection, *(one.batch.batch_id for one in recorded))
        closed = [(findings, one.notes) for one, findings in zip(recorded, verdicts, strict=False)]
        close_group(connection, [one.batch for one in recorded], closed)

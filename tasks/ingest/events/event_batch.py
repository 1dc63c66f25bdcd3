"""The course of a batch: opened, taken in chunk by chunk, judged as a whole, and then visible or gone."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn, TypeVar

import pyarrow as pa
from sqlalchemy import Connection

from expectations import limits
from infra.installation import Installation
from infra.locks import advisory_locks
from models.errors import TailorbirdError
from models.ingest.source_config import SourceMapping
from models.ingest.tabular.unreadable_cells import merge_unreadable
from tasks.ingest import ledger
from tasks.ingest.entity_updates import apply, consent
from tasks.ingest.events.chunk_writer import Intake, Part, forget
from tasks.ingest.events.open_intake import open_intake
from tasks.ingest.quarantine.resolved_rows import close_resolved, resolve_renamed
from tasks.ingest.undo.settle import settle
from tasks.ingest.validation import batch_profile, row_triage
from tasks.orchestration.progress import progress
from tasks.orchestration.run_artifacts import link_docs
from tasks.quality.suites import BatchExpectations, BatchRefusedError, Findings, judge, reading_notes, refusal

T = TypeVar("T")
Parts = Callable[[Intake], Iterator[tuple[Part, int]]]


def ingest_batch(
    installation: Installation, mapping: SourceMapping, batch: ledger.Batch, parts: Parts, steps: int
) -> dict[str, Any]:
    """Bring a batch in, or go on where an earlier run stopped; returns its line in the ledger.

    `parts` gives the chunks, always the same ones, each with the number of steps (of `steps`) that it moves on.
    Raises BatchRefusedError when the batch as a whole is not what its suite expects: then nothing of it stays.
    """
    limits.bounds("events", mapping.limits)  # a misspelt one is told before anything is stored
    with advisory_locks.locked(installation.engine, batch.batch_id):
        with installation.engine.begin() as connection:
            status = ledger.open_batch(connection, batch)
        if status != ledger.COMMITTED:
            # One writer at a time, or two batches could both bring an event that neither finds in the lake.
            with advisory_locks.locked(installation.engine, "the lake's events", wait=True) as confirm:
                settle(installation, batch.batch_id)
                intake = open_intake(installation, mapping, batch, confirm)
                close(intake, _taken(intake, parts, steps))
        else:
            with installation.engine.begin() as connection:
                resolve_renamed(connection, [batch])
        return told(installation, batch.batch_id, unchanged=status == ledger.COMMITTED)


def told(installation: Installation, batch_id: str, *, unchanged: bool = False) -> dict[str, Any]:
    """Return a batch's line in the ledger, with its Data Docs; `unchanged` if it was committed before."""
    with installation.engine.connect() as connection:
        entry = ledger.entry(connection, batch_id)
    return link_docs(entry) | ({"status": ledger.UNCHANGED} if unchanged else {})


def prefetch(source: Iterator[T]) -> Iterator[T]:
    """The same elements, the next one made in a thread of its own while this one is worked on."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, source, None)
        while (element := coming.result()) is not None:
            coming = pool.submit(next, source, None)
            yield element


def _taken(intake: Intake, parts: Parts, steps: int) -> pa.Table:
    """Like `_take_all`; a file that turns out to be broken in the middle is refused as a whole."""
    try:
        return _take_all(intake, parts, steps)
    except TailorbirdError as error:
        intake.confirm()
        intake.installation.lake.remove_batch(intake.batch.batch_id)
        refuse(intake.installation, intake.batch, [], str(error))


def _take_all(intake: Intake, parts: Parts, steps: int) -> pa.Table:
    """Take what an earlier run has not stored yet; returns a sample for the suite."""
    stored = intake.installation.lake.committed_chunk(intake.batch.batch_id)
    samples = []
    with progress(intake.batch.dataset, steps) as advance:
        for chunk, (part, moved) in enumerate(prefetch(parts(intake))):
            looked = intake.look(part)
            samples.append(looked.sample(max(1, row_triage.SAMPLE_ROWS * moved // max(steps, 1))))
            if chunk > stored:
                intake.take(part, looked, chunk)
            else:
                intake.recall(part)
            advance(moved)
    return row_triage.systematic_sample(pa.concat_tables(samples), row_triage.SAMPLE_ROWS)


def close(intake: Intake, sample: pa.Table) -> None:
    """Let the suite decide: the batch becomes visible, or its rows leave the lake again."""
    installation, batch = intake.installation, intake.batch
    with installation.engine.connect() as connection:
        profiles = ledger.chunk_profiles(connection, batch.batch_id)
    promises = promises_of(intake)
    findings = judge(batch.batch_id, batch.dataset, promises, sample, figures_of(intake, promises, profiles))
    unread = merge_unreadable(one["unread"] for one in profiles if "unread" in one)
    reason = refusal(findings, batch_profile.broken(profiles), unread)
    intake.confirm()
    if reason:
        installation.lake.remove_batch(batch.batch_id)
        refuse(installation, batch, findings, reason)
    with installation.engine.begin() as connection:
        _forgive(installation, connection, batch.batch_id)
        apply.apply(connection, batch.batch_id)
        ledger.close_batch(connection, batch.batch_id, findings, reading_notes(profiles, unread))
        close_resolved(connection, batch)


def promises_of(intake: Intake) -> BatchExpectations:
    """Return what the events of a batch promise, with the limits of its mapping."""
    asked = intake.mapping.limits
    return BatchExpectations(limits.limited("events", intake.rules, asked), limits.bounds("events", asked))


def figures_of(
    intake: Intake, promises: BatchExpectations, profiles: Sequence[dict[str, Any]]
) -> dict[str, float | None]:
    """Return the figures that promises bound, of the profiles of a batch's chunks; those of none are 0."""
    return dict.fromkeys(promises.bounds, 0.0) | batch_profile.figures(profiles, intake.now)


def refuse(installation: Installation, batch: ledger.Batch, findings: Findings, reason: str) -> NoReturn:
    """Write down why a batch is refused, and say it."""
    with installation.engine.begin() as connection:
        forget(connection, batch.batch_id)
        ledger.refuse_batch(connection, batch.batch_id, findings, reason)
    page = link_docs({"batch_id": batch.batch_id, "dataset": batch.dataset, "status": ledger.REFUSED})["data_docs"]
    where = f" Its page: {page}" if page else ""
    raise BatchRefusedError(f"Batch {batch.batch_id} was refused and nothing of it was kept. {reason}{where}")


def refuse_file(installation: Installation, batch: ledger.Batch, why: str) -> None:
    """Write down that a file is not what it should be: of a source whose newest file is refused, nothing is learned."""
    with installation.engine.begin() as connection:
        ledger.open_batch(connection, batch)
        ledger.refuse_batch(connection, batch.batch_id, [], why)


def _forgive(installation: Installation, connection: Connection, batch_id: str) -> None:
    """Refusals after which the same user agreed again, by an event that the lake has, are not the last answer."""
    agreements = consent.agreed_after(installation, apply.refusals(connection, batch_id))
    apply.agree(connection, batch_id, agreements)

"""Publishes lists as they are built: one batch of a placement, checked, and published whole or not at all."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from psycopg2.errors import UniqueViolation
from sqlalchemy import Connection

from infra.database.binary_copy import copy_binary, encoded
from infra.installation import Installation
from infra.locks import LockHeldError, locked
from models.evaluation.metrics.beyond_accuracy import concentration
from models.lists.batch_users import BatchUsers
from models.lists.ranked_lists import Lists
from models.lists.rules.placement_config import Placement
from models.recommenders.explanations.sentences import shares
from tasks.lake.shared_reads import release_shared_reads
from tasks.orchestration.progress import progress
from tasks.orchestration.run_artifacts import log_info
from tasks.scoring import batch_state, partitions
from tasks.scoring.batch_checks import (
    BatchUnsoundError,
    ListStatistics,
    Segments,
    by_segment,
    check_lists,
    overlap_with_previous,
)
from tasks.scoring.batch_rows import BatchRow, BatchSummary

_COLUMNS = ("batch_id", "subject", "items", "scores", "reasons", "shortfall_reason")


@dataclass(frozen=True)
class TextCodes:
    """The different texts of a batch, by their codes in order of appearance."""

    code: dict[str, int] = field(default_factory=dict)

    def codes(self, texts: list[str]) -> NDArray[np.int32]:
        """Return [n] the code of each text; new ones get the next."""
        return np.array([self.code.setdefault(text, len(self.code)) for text in texts], dtype=np.int32)


@dataclass(frozen=True)
class Work:
    """The inputs of a batch, before anything is scored."""

    placement: Placement
    spec: batch_state.BatchSpec
    subjects: NDArray[np.str_]
    """The users or items that are to have a list."""
    items: NDArray[np.str_]
    """[n] the ids of the item codes."""
    allowed: NDArray[np.bool_]
    """[n]"""
    lists: Callable[[TextCodes], Iterator[Lists]]
    """Builds the lists, a chunk at a time, with the codes of their reasons."""
    segments: Segments
    users: BatchUsers | None = None
    """What live lists need to know of the users; None for lists about items."""
    notes: list[str] = field(default_factory=list)
    """Rules that match nothing, in words."""


def publish_lists(installation: Installation, prepare: Callable[[], Work], placement: str) -> BatchRow:
    """Publish the work that `prepare` returns; return the batch's row. A batch that is live is not built again.

    Raises BatchUnsoundError if the lists fail their checks, OvertakenError if another run was faster, and LockHeldError
    if another run holds the placement.
    """
    with _placement_lock(installation, placement) as check_lock:
        work = prepare()
        with installation.engine.begin() as connection:
            live = _live(connection, work.spec)
            if live is None:
                claim = batch_state.claim(connection, work.spec)
                # Once more: a run that was about to publish this batch has done it by now, or never will.
                live = _live(connection, work.spec)
            if live is not None:
                batch_state.confirm(connection, work.spec)
                return live
            before = batch_state.live_batch(connection, placement)
        with _stop_recorded(installation, claim):
            _build(installation, work, claim, before)
            batch_state.attach(installation.engine, claim)
            check_lock()
            with installation.engine.begin() as connection:
                batch_state.publish(connection, placement, claim, before)
        batch_state.retire(installation.engine, placement)
        with installation.engine.connect() as connection:
            return batch_state.batch_row(connection, claim.batch_id)


def _live(connection: Connection, spec: batch_state.BatchSpec) -> BatchRow | None:
    """Return the batch of that key, if readers see it now."""
    batch = batch_state.batch_of(connection, spec.placement, spec.run_key)
    return batch if batch and batch["batch_id"] == batch_state.live_batch(connection, spec.placement) else None


@contextmanager
def _placement_lock(installation: Installation, placement: str) -> Iterator[Callable[[], None]]:
    """Hold the placement's lock; wait for another holder, because nothing may be left to do then."""
    with ExitStack() as stack:
        name = batch_state.lock_name(placement)
        try:
            check = stack.enter_context(locked(installation.engine, name))
        except LockHeldError:
            log_info(f"Another run makes lists for {placement}; this one waits for it.")
            check = stack.enter_context(locked(installation.engine, name, wait=True))
        yield check


@contextmanager
def _stop_recorded(installation: Installation, claim: batch_state.Claim) -> Iterator[None]:
    """Record that a person stopped the run: the reconciler finishes killed runs, but not this one."""
    try:
        yield
    except KeyboardInterrupt:
        with suppress(Exception), installation.engine.begin() as connection:
            batch_state.mark(connection, claim, detail="stopped by a person")
        raise


def _build(installation: Installation, work: Work, claim: batch_state.Claim, before: int | None) -> None:
    """Build the batch, from empty tables to tables that have passed the checks."""
    release_shared_reads()
    batch_state.stage(installation.engine, claim)
    statistics, texts = ListStatistics(work.allowed), TextCodes()
    try:
        with installation.engine.begin() as connection:
            _load(connection, work, claim.batch_id, statistics, texts)
            _write_texts(connection, work, claim.batch_id, statistics, texts)
            partitions.analyze(connection, claim.batch_id)
            summary = _checked(connection, work, claim.batch_id, before, statistics)
            summary["reasons"] = _reasons(statistics, texts)
            counts = {"users": statistics.rows.num_rows, "recommendations": int(statistics.shown.sum())}
            batch_state.mark(connection, claim, status=batch_state.CHECKED, summary=summary, **counts)
    except BatchUnsoundError as error:
        with installation.engine.begin() as connection:
            batch_state.mark(connection, claim, status=batch_state.REFUSED, detail=str(error))
        partitions.drop(installation.engine, claim.batch_id)
        raise


def _load(connection: Connection, work: Work, batch_id: int, statistics: ListStatistics, texts: TextCodes) -> None:
    """COPY the lists while the next ones are being built."""
    started, done, total = time.monotonic(), 0, len(work.subjects)
    with progress(f"score {work.spec.placement}", total) as advance:

        def pieces() -> Iterator[bytes]:
            nonlocal done
            for lists in work.lists(texts):
                done += len(lists.subjects)
                rate = done / max(time.monotonic() - started, 1e-3)
                advance(len(lists.subjects), note=f"{rate:,.0f}/s, {(total - done) / rate:,.0f} s left")
                yield from encoded(batch_id, statistics.observe(lists))

        try:
            copy_binary(connection, partitions.partition_name("recommendations", batch_id), _COLUMNS, pieces())
        except UniqueViolation:
            refusal = f"Batch {batch_id} of {work.spec.placement} was not published: a user has two lists."
            raise BatchUnsoundError(f"{refusal} Readers keep the batch before.") from None


def _write_texts(
    connection: Connection, work: Work, batch_id: int, statistics: ListStatistics, texts: TextCodes
) -> None:
    used = np.flatnonzero(statistics.shown)
    if work.users is not None:
        partitions.write_users(connection, batch_id, work.users)
        used = np.union1d(used, work.users.items)
    ids = zip(used.tolist(), work.items[used].tolist(), strict=True)
    partitions.write_words(connection, batch_id, "batch_items", ids)
    reasons = ((code, text) for text, code in texts.code.items())
    partitions.write_words(connection, batch_id, "batch_reasons", reasons)


def _reasons(statistics: ListStatistics, texts: TextCodes) -> dict[str, float]:
    """Return the share of each kind of reason; codes were given in the order of the texts."""
    places = np.zeros(len(texts.code), dtype=np.int64)
    places[: len(statistics.reasons)] = statistics.reasons
    return shares(texts.code, places.tolist())


def _checked(
    connection: Connection, work: Work, batch_id: int, before: int | None, statistics: ListStatistics
) -> BatchSummary:
    """Return the batch's summary after its suite has passed."""
    overlap = overlap_with_previous(connection, batch_id, before, work.subjects)
    bounds = (overlap.share, work.placement.overlap)
    check_lists(connection, batch_id, work.spec.placement, statistics, len(work.subjects), bounds)
    shown = statistics.shown[work.allowed].astype(np.float64)
    return {
        "coverage": round(float((statistics.shown > 0).sum() / max(1, work.allowed.sum())), 4),
        "gini": round(float(concentration(shown[None], len(shown))[0]), 4),
        "scores": statistics.scores,
        "kept_from_before": round(float(overlap.share.mean()), 4) if len(overlap.share) else None,
        "short": statistics.short,
        "notes": work.notes,
        "segments": by_segment(statistics, work.segments, overlap, work.spec.k),
    }

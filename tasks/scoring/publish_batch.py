"""Publishes lists as they are built: one batch of a placement, checked, and published whole or not at all.

The library of suites is imported by the first check.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from psycopg2.errors import UniqueViolation
from sqlalchemy import Connection, text

from infra.database.binary_copy import copy_binary, encoded
from infra.installation import Installation
from infra.locks import LockHeldError, locked
from models.errors import TailorbirdError
from models.evaluation.metrics.beyond_accuracy import concentration
from models.lists.ranked_lists import CHECKS, BatchUsers, Lists, count_violations
from models.lists.rules.placement_config import Placement
from models.recommenders.explanations.sentences import shares
from tasks.lake.event_engine import release_shared_reads
from tasks.orchestration.progress import progress
from tasks.orchestration.run_artifacts import log_info
from tasks.scoring import batch_state, partitions
from tasks.scoring.batch_state import BatchRow, BatchSummary, SegmentRow

if TYPE_CHECKING:
    from tasks.quality.findings import Findings

_COLUMNS = ("batch_id", "subject", "items", "scores", "reasons", "shortfall_reason")
_SAMPLE: Final = 10_000
"""Subjects whose lists are compared with the previous ones: the mean is known to half a hundredth then."""
_NO_ROWS: Final = pa.Table.from_batches([], pa.schema(dict.fromkeys((*CHECKS, "length"), pa.int64())))


class BatchUnsoundError(TailorbirdError):
    """A batch failed its checks; readers keep the previous one."""


class Segments(NamedTuple):
    """The segment of each of n subjects."""

    names: list[str]
    of: NDArray[np.int64]
    """[n] positions in `names`."""


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


@dataclass
class ListStatistics:
    """Statistics of lists on their way to the database, one row of counts per list."""

    allowed: NDArray[np.bool_]
    """[n] the item codes that may be shown."""
    _counts: list[pa.Table] = field(default_factory=list)
    _rows: list[NDArray[np.int64]] = field(default_factory=list)
    _best: list[NDArray[np.float32]] = field(default_factory=list)
    shown: NDArray[np.int64] = field(init=False)
    """[n] the number of lists that each item is on."""
    reasons: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, 0), dtype=np.int64))
    """[2, codes] the number of places, and of first places, that the reason of each code has."""
    short: dict[str, int] = field(default_factory=dict)
    """Lists that are shorter than asked for, by the reason."""

    def __post_init__(self) -> None:
        self.shown = np.zeros(len(self.allowed), dtype=np.int64)

    def observe(self, lists: Lists) -> Lists:
        """Add lists to the statistics, and return them."""
        self._counts.append(pa.table({**count_violations(lists, self.allowed), "length": lists.lengths}))
        self._rows.append(lists.rows)
        self._best.append(lists.scores[lists.lengths > 0, 0])
        listed = lists.items[(lists.items >= 0) & (lists.items < len(self.shown))]
        self.shown += np.bincount(listed, minlength=len(self.shown))
        known, parts = self.reasons.shape[1], (lists.reasons, lists.reasons[:, :1])
        codes = max(known, int(lists.reasons.max(initial=-1)) + 1)
        counts = np.stack([np.bincount(part[part >= 0], minlength=codes) for part in parts])
        counts[:, :known] += self.reasons
        self.reasons = counts
        for why, times in zip(*np.unique(lists.short[lists.short != ""], return_counts=True), strict=True):
            self.short[str(why)] = self.short.get(str(why), 0) + int(times)
        return lists

    @property
    def rows(self) -> pa.Table:
        """One row per list: the counts of `models.lists.ranked_lists.CHECKS`, and `length`."""
        return pa.concat_tables(self._counts) if self._counts else _NO_ROWS

    @property
    def subjects(self) -> NDArray[np.int64]:
        """The subject of each row: positions among all that are to have a list."""
        return np.concatenate([np.empty(0, dtype=np.int64), *self._rows])

    @property
    def scores(self) -> list[float]:
        """The deciles of the scores in first places, from the lowest to the highest; empty without any."""
        best = np.concatenate([np.empty(0, dtype=np.float32), *self._best])
        known = best[np.isfinite(best)]
        return [float(f"{score:.6g}") for score in np.quantile(known, np.linspace(0, 1, 11))] if len(known) else []


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
            summary["reasons"], first = _reasons(statistics, texts)
            if work.placement.method == "co_purchase":
                parts = {"places": summary["reasons"], "lists": first}
                summary["filled"] = {name: round(1 - part.get("together", 0), 4) for name, part in parts.items()}
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


def _reasons(statistics: ListStatistics, texts: TextCodes) -> list[dict[str, float]]:
    """Return the share of each kind of reason, of places and of first places; codes have the order of the texts."""
    unused = len(texts.code) - statistics.reasons.shape[1]
    return [shares(texts.code, [*places, *[0] * unused]) for places in statistics.reasons.tolist()]


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


def check_lists(
    connection: Connection,
    batch_id: int,
    placement: str,
    statistics: ListStatistics,
    eligible: int,
    overlap: tuple[NDArray[np.float64], tuple[float | None, float | None]],
) -> "Findings":
    """Return the suite's findings in a full batch; Data Docs show them too. Raises BatchUnsoundError if it fails.

    `eligible` is the number of subjects that are to have a list, one each. `overlap` are the shares of lists that were
    on the previous lists, and the bounds of their mean.
    """
    from expectations.lists import LIST_BOUNDS, LIST_RULES, OVERLAP
    from tasks.quality.suites import BatchExpectations, refusal, validate_batch

    stored = partitions.count(connection, batch_id)
    shares, bounds = overlap
    rows = statistics.rows
    lists_per_subject = np.bincount(statistics.subjects, minlength=eligible)
    figures = {
        "lists": float(stored.lists),
        "subjects_without_list": float((lists_per_subject[:eligible] == 0).sum()),
        "lists_too_many": float((lists_per_subject[:eligible] > 1).sum() + lists_per_subject[eligible:].sum()),
        "ragged_rows": float(stored.ragged),
        "unstored": abs(float(np.sum(rows["length"])) - stored.recommendations) + abs(rows.num_rows - stored.lists),
        OVERLAP: float(shares.mean()) if len(shares) else None,
    }
    expected = BatchExpectations(LIST_RULES, {**LIST_BOUNDS, OVERLAP: bounds})
    findings = validate_batch(f"{placement}-{batch_id}", "lists", expected, rows, figures)
    reason = refusal(findings)
    if reason:
        raise BatchUnsoundError(
            f"Batch {batch_id} of {placement} was not published. {reason} Readers keep the batch before."
        )
    return findings


_OVERLAP_SQL = """
    WITH sampled AS (SELECT unnest(CAST(:subjects AS text[])) AS subject),
    now AS (SELECT subject, item_id FROM recommendations_{now} JOIN sampled USING (subject),
            unnest(items) AS entry (item_code) JOIN batch_items_{now} USING (item_code)),
    earlier AS (SELECT subject, item_id FROM recommendations_{before} JOIN sampled USING (subject),
                unnest(items) AS entry (item_code) JOIN batch_items_{before} USING (item_code))
    SELECT now.subject, count(earlier.item_id)::float / count(*) AS share
    FROM now LEFT JOIN earlier USING (subject, item_id)
    WHERE now.subject IN (SELECT subject FROM earlier) GROUP BY now.subject ORDER BY now.subject
"""


class Overlap(NamedTuple):
    """The overlap with the previous batch, of a sample of the subjects that have lists in both."""

    subjects: NDArray[np.int64]
    """[s] positions of the subjects."""
    share: NDArray[np.float64]
    """[s] of the list's items that were on the previous list."""


def overlap_with_previous(
    connection: Connection, batch_id: int, before: int | None, subjects: NDArray[np.str_]
) -> Overlap:
    """Return the overlap of a full batch with the previous one; empty if there was none."""
    sample = np.arange(0, len(subjects), max(1, -(-len(subjects) // _SAMPLE)))
    if before is None or before not in partitions.existing(connection):
        return Overlap(np.empty(0, dtype=np.int64), np.empty(0))
    statement = text(_OVERLAP_SQL.format(now=batch_id, before=before))
    rows = connection.execute(statement, {"subjects": subjects[sample].tolist()}).all()
    place = {subject: at for at, subject in zip(sample.tolist(), subjects[sample].tolist(), strict=True)}
    positions = np.array([place[row.subject] for row in rows], dtype=np.int64)
    return Overlap(positions, np.array([row.share for row in rows], dtype=np.float64))


def by_segment(statistics: ListStatistics, segments: Segments, overlap: Overlap, k: int) -> list[SegmentRow]:
    """Return one row per segment: lists, full ones, and the mean overlap with the previous batch."""
    segment_of_row, length = segments.of[statistics.subjects], statistics.rows["length"].to_numpy()
    segment_of_sample, rows = segments.of[overlap.subjects], list[SegmentRow]()
    for code, segment in enumerate(segments.names):
        in_segment, shares = segment_of_row == code, overlap.share[segment_of_sample == code]
        if in_segment.any():
            rows.append(
                {
                    "segment": segment,
                    "lists": int(in_segment.sum()),
                    "full": int((length[in_segment] == k).sum()),
                    "kept from before": round(float(shares.mean()), 3) if len(shares) else None,
                }
            )
    return rows

"""Checks a batch against its suite before readers see it; the library of suites is imported by the first check."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from models.errors import TailorbirdError
from models.lists.ranked_lists import CHECKS, Lists, count_violations
from tasks.scoring import partitions
from tasks.scoring.batch_rows import SegmentRow

if TYPE_CHECKING:
    from tasks.quality.findings import Findings

_SAMPLE: Final = 10_000
"""Subjects whose lists are compared with the previous ones: the mean is known to half a hundredth then."""


_NO_ROWS: Final = pa.Table.from_batches([], pa.schema(dict.fromkeys((*CHECKS, "length"), pa.int64())))


class BatchUnsoundError(TailorbirdError):
    """A batch failed its checks; readers keep the previous one."""


@dataclass
class ListStatistics:
    """Statistics of lists on their way to the database, one row of counts per list."""

    allowed: NDArray[np.bool_]
    """[n] the item codes that may be shown."""
    _counts: list[pa.Table] = field(default_factory=list)
    _rows: list[NDArray[np.int64]] = field(default_factory=list)
    _best: list[NDArray[np.float32]] = field(default_factory=list)
    _shown: NDArray[np.int64] = field(init=False)
    _reasons: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    short: dict[str, int] = field(default_factory=dict)
    """Lists that are shorter than asked for, by the reason."""

    def __post_init__(self) -> None:
        self._shown = np.zeros(len(self.allowed), dtype=np.int64)

    def observe(self, lists: Lists) -> Lists:
        """Add lists to the statistics, and return them."""
        self._counts.append(pa.table({**count_violations(lists, self.allowed), "length": lists.lengths}))
        self._rows.append(lists.rows)
        self._best.append(lists.scores[lists.lengths > 0, 0])
        listed = lists.items[(lists.items >= 0) & (lists.items < len(self._shown))]
        self._shown += np.bincount(listed, minlength=len(self._shown))
        counts = np.bincount(lists.reasons[lists.reasons >= 0], minlength=len(self._reasons))
        counts[: len(self._reasons)] += self._reasons
        self._reasons = counts
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

    @property
    def shown(self) -> NDArray[np.int64]:
        """[n] the number of lists that each item is on."""
        return self._shown

    @property
    def reasons(self) -> NDArray[np.int64]:
        """The number of places that the reason of each code has."""
        return self._reasons


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
    from expectations.batches import LIST_BOUNDS, LIST_RULES, OVERLAP
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


class Segments(NamedTuple):
    """The segment of each of n subjects."""

    names: list[str]
    of: NDArray[np.int64]
    """[n] positions in `names`."""


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

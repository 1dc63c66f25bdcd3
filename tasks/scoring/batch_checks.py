"""Holds a batch against its suite before readers see it; what runs suites is imported by the first check."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from models.errors import TailorbirdError
from models.lists.recommendation_lists import CHECKS, Lists, count_violations
from tasks.scoring import partitions

if TYPE_CHECKING:
    from tasks.quality.suites import Findings

_SAMPLE: Final = 10_000
"""Subjects whose lists are compared with those before: the mean is known to half a hundredth then."""


_NO_ROWS: Final = pa.Table.from_batches([], pa.schema(dict.fromkeys((*CHECKS, "length"), pa.int64())))


class BatchUnsoundError(TailorbirdError):
    """A batch that broke its checks; readers keep the one before."""


@dataclass
class ListStatistics:
    """What was seen in the lists on their way to the database, one row of counts each."""

    allowed: NDArray[np.bool_]
    """[n] the item codes that may be shown."""
    _counts: list[pa.Table] = field(default_factory=list)
    _rows: list[NDArray[np.int64]] = field(default_factory=list)
    _best: list[NDArray[np.float32]] = field(default_factory=list)
    _shown: NDArray[np.int64] = field(init=False)
    _reasons: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    short: dict[str, int] = field(default_factory=dict)
    """Lists that are shorter than asked for, by what is said of it."""

    def __post_init__(self) -> None:
        self._shown = np.zeros(len(self.allowed), dtype=np.int64)

    def observe(self, lists: Lists) -> Lists:
        """Look at lists, and hand them on."""
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
        """One row a list: the counts of `models.lists.recommendation_lists.CHECKS`, and `length`."""
        return pa.concat_tables(self._counts) if self._counts else _NO_ROWS

    @property
    def whose(self) -> NDArray[np.int64]:
        """Whose lists they are: positions among those who are to have one, in order of the rows."""
        return np.concatenate([np.empty(0, dtype=np.int64), *self._rows])

    @property
    def scores(self) -> list[float]:
        """The tenths of the scores in first places, from the least to the greatest; empty without any."""
        best = np.concatenate([np.empty(0, dtype=np.float32), *self._best])
        known = best[np.isfinite(best)]
        return [float(f"{score:.6g}") for score in np.quantile(known, np.linspace(0, 1, 11))] if len(known) else []

    @property
    def shown(self) -> NDArray[np.int64]:
        """[n] on how many lists each item is."""
        return self._shown

    @property
    def reasons(self) -> NDArray[np.int64]:
        """Return at how many places the reason of each code stands."""
        return self._reasons


def check_lists(
    connection: Connection,
    batch_id: int,
    placement: str,
    looks: ListStatistics,
    eligible: int,
    overlap: tuple[NDArray[np.float64], tuple[float | None, float | None]],
) -> "Findings":
    """What the suite found in a full batch; Data Docs show it too. Raises BatchUnsoundError when a promise is broken.

    `eligible` is how many subjects are to have a list, one each. `overlap` are the shares of lists that were kept from
    the batch before, and between which their mean has to be.
    """
    from expectations import lists as promises
    from tasks.quality.suites import BatchExpectations, refusal, validate_batch

    stored = partitions.count(connection, batch_id)
    kept, allowed = overlap
    rows = looks.rows
    lists_of = np.bincount(looks.whose, minlength=eligible)
    figures = {
        "lists": float(stored.lists),
        "subjects_without_list": float((lists_of[:eligible] == 0).sum()),
        "lists_too_many": float((lists_of[:eligible] > 1).sum() + lists_of[eligible:].sum()),
        "ragged_rows": float(stored.ragged),
        "unstored": abs(float(np.sum(rows["length"])) - stored.recommendations) + abs(rows.num_rows - stored.lists),
        promises.OVERLAP: float(kept.mean()) if len(kept) else None,
    }
    findings = validate_batch(
        f"{placement}-{batch_id}", "lists", BatchExpectations(promises.rules(), promises.bounds(allowed)), rows, figures
    )
    reason = refusal(findings)
    if reason:
        raise BatchUnsoundError(
            f"Batch {batch_id} of {placement} was not published. {reason} Readers keep the batch before."
        )
    return findings


_KEPT = """
    WITH sampled AS (SELECT unnest(CAST(:subjects AS text[])) AS subject),
    now AS (SELECT subject, item_id FROM recommendations_{now} JOIN sampled USING (subject),
            unnest(items) AS entry (item_code) JOIN batch_items_{now} USING (item_code)),
    earlier AS (SELECT subject, item_id FROM recommendations_{before} JOIN sampled USING (subject),
                unnest(items) AS entry (item_code) JOIN batch_items_{before} USING (item_code))
    SELECT now.subject, count(earlier.item_id)::float / count(*) AS kept
    FROM now LEFT JOIN earlier USING (subject, item_id)
    WHERE now.subject IN (SELECT subject FROM earlier) GROUP BY now.subject ORDER BY now.subject
"""


class Overlap(NamedTuple):
    """How much of lists is left from the batch before, of a sample of the subjects that have lists in both."""

    whose: NDArray[np.int64]
    """[s] positions of the subjects."""
    share: NDArray[np.float64]
    """[s] of the list's items that were on the one before."""


def overlap_with_previous(
    connection: Connection, batch_id: int, before: int | None, subjects: NDArray[np.str_]
) -> Overlap:
    """What a full batch has kept of the one before; nothing is known when there was none."""
    sample = np.arange(0, len(subjects), max(1, -(-len(subjects) // _SAMPLE)))
    if before is None or before not in partitions.existing(connection):
        return Overlap(np.empty(0, dtype=np.int64), np.empty(0))
    statement = text(_KEPT.format(now=batch_id, before=before))
    found = connection.execute(statement, {"subjects": subjects[sample].tolist()}).all()
    place = {subject: at for at, subject in zip(sample.tolist(), subjects[sample].tolist(), strict=True)}
    whose = np.array([place[row.subject] for row in found], dtype=np.int64)
    return Overlap(whose, np.array([row.kept for row in found], dtype=np.float64))


class Segments(NamedTuple):
    """In which segment each of n subjects is."""

    names: list[str]
    of: NDArray[np.int64]
    """[n] positions in `names`."""


def by_segment(looks: ListStatistics, segments: Segments, kept: Overlap, k: int) -> list[dict[str, Any]]:
    """One row a segment: lists, full ones, and the mean share that was kept from the batch before."""
    named, length = segments.of[looks.whose], looks.rows["length"].to_numpy()
    sampled, rows = segments.of[kept.whose], []
    for code, segment in enumerate(segments.names):
        mine, theirs = named == code, kept.share[sampled == code]
        said = {"segment": segment, "lists": int(mine.sum()), "full": int((length[mine] == k).sum())}
        if said["lists"]:
            rows.append(said | {"kept from before": round(float(theirs.mean()), 3) if len(theirs) else None})
    return rows

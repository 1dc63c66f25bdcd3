"""Fills places of lists from streams of candidates, and reads deeper only for lists that are not certain yet.

A stream has the candidates in the order in which they may enter lists: the model's, with boosts, or the fallback's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from models.lists.rules.compiled_rules import ActiveCap, Group
from models.retrieval.candidate_sources import CandidateSource, ScopedSource, TopCandidates

NO_SCORE = np.float32(-np.inf)
_LOWEST = np.finfo(np.float32).min
NO_CANDIDATE: Final = np.uint64(2**64 - 1)
"""The key of an empty place: greater than all others."""

_SIGN: Final = np.uint32(1 << 31)
_MAGNITUDE: Final = np.uint32(_SIGN - 1)


def keys(scores: NDArray[np.float32], items: NDArray[np.int32]) -> NDArray[np.uint64]:
    """Return keys whose ascending order is that of descending scores and then of ascending `items`.

    A score of NaN or -inf, or an item of -1, is no candidate. The two arrays have one shape, or broadcast to one.
    """
    # Adding 0 turns -0 into 0. The bits of non-negative floats grow with their values; those of negative ones fall.
    bits = (scores + np.float32(0)).view(np.uint32)
    falling = np.where(bits < _SIGN, bits ^ _MAGNITUDE, bits).astype(np.uint64)
    packed = falling << np.uint64(32) | items.astype(np.uint32)
    return np.where((scores > -np.inf) & (items >= 0), packed, NO_CANDIDATE)


def candidates(packed: NDArray[np.uint64]) -> TopCandidates:
    """Return the candidates that have these keys."""
    items = packed.astype(np.uint32).view(np.int32)
    falling = (packed >> np.uint64(32)).astype(np.uint32)
    scores = np.where(falling < _SIGN, falling ^ _MAGNITUDE, falling).view(np.float32)
    return TopCandidates(items, np.where(items < 0, np.float32(-np.inf), scores))


class RankedPrefix(NamedTuple):
    """The best candidates of r rows, and a bound on the scores of further ones."""

    items: NDArray[np.int32]
    """[r, n] best first, ties by position; -1 at the end if there are no more."""
    scores: NDArray[np.float32]
    """[r, n]"""
    ended: NDArray[np.bool_]
    """[r] whether the row has no further candidates."""
    beyond: NDArray[np.float32]
    """[r] the highest score that a further candidate can have; NaN if all further candidates come after these."""


class Stream(Protocol):
    """Candidates that can be fetched repeatedly, and deeper each time."""

    @property
    def depth(self) -> int:
        """Return the depth at which all candidates are known."""

    def best(self, rows: NDArray[np.int64], n: int) -> RankedPrefix:
        """Return at least the `n` best of those rows."""


@dataclass(frozen=True, eq=False)
class ModelStream:
    """Candidates of a source; items of one factor are ranked among themselves, and then merged."""

    parts: tuple[tuple[ScopedSource, int, np.float32], ...]
    """Sources, the number of their items, and the factor of their scores."""

    @classmethod
    def of(cls, source: CandidateSource, groups: Sequence[Group]) -> Self:
        """Return the candidates that the source has among the items of the groups."""
        return cls(tuple((source.restrict_to(group.items), len(group.items), group.by) for group in groups))

    @property
    def depth(self) -> int:
        """Return the number of items of the largest group."""
        return max((size for _, size, _ in self.parts), default=0)

    def best(self, rows: NDArray[np.int64], n: int) -> RankedPrefix:
        """Return the `n` best of each group."""
        ranked = [_of_part(source, size, by, rows, min(n, size)) for source, size, by in self.parts]
        if len(ranked) == 1 and self.parts[0][2] == 1:
            # A source returns its candidates in their final order, ties included.
            return ranked[0]._replace(beyond=np.full(len(rows), np.nan, dtype=np.float32))
        # Factors can make different scores equal, so that even one group is sorted again.
        merged = np.sort(np.concatenate([keys(part.scores, part.items) for part in ranked], axis=1), axis=1)
        ended = np.logical_and.reduce([part.ended for part in ranked])
        return RankedPrefix(*candidates(merged), ended, np.maximum.reduce([part.beyond for part in ranked]))


def _of_part(source: ScopedSource, size: int, by: np.float32, rows: NDArray[np.int64], n: int) -> RankedPrefix:
    items, scores = source.fetch(rows, n)
    scores = boosted(scores, by)
    ended = (items[:, -1] < 0) | (n == size)
    return RankedPrefix(items, scores, ended, np.where(ended, NO_SCORE, scores[:, -1]))


def boosted(scores: NDArray[np.float32], by: np.float32 | NDArray[np.float32]) -> NDArray[np.float32]:
    """Return scores that are higher for factors above 1 and lower below 1, for negative scores too; -inf stays."""
    if np.ndim(by) == 0 and by == 1:
        return scores
    with np.errstate(over="ignore", under="ignore"):
        moved = np.where(scores >= 0, scores * by, scores / by)
    return np.where(scores > NO_SCORE, np.maximum(moved, _LOWEST), NO_SCORE)


@dataclass(frozen=True, eq=False)
class FallbackStream:
    """The same candidates for all users."""

    items: NDArray[np.int32]
    """[c] best first."""
    scores: NDArray[np.float32]
    """[c]"""

    @classmethod
    def of(cls, fallback: NDArray[np.float32], groups: Sequence[Group]) -> Self:
        """Return the items of the groups by their scores in the fallback [n_items]; NaN and -inf come last."""
        items = np.concatenate([np.empty(0, dtype=np.int32), *(group.items for group in groups)])
        scores = np.where(np.isnan(fallback[items]), NO_SCORE, fallback[items])
        order = candidates(np.sort(keys(np.maximum(scores, _LOWEST), items))).items
        return cls(order, np.where(np.isnan(fallback[order]), NO_SCORE, fallback[order]))

    @property
    def depth(self) -> int:
        """Return the number of items."""
        return len(self.items)

    def best(self, rows: NDArray[np.int64], n: int) -> RankedPrefix:
        """Return the first `n`, which all rows share."""
        shape = len(rows), min(n, len(self.items))
        items, scores = np.broadcast_to(self.items[:n], shape), np.broadcast_to(self.scores[:n], shape)
        ended, beyond = np.full(len(rows), n >= len(self.items)), np.full(len(rows), np.nan, dtype=np.float32)
        return RankedPrefix(items, scores, ended, beyond)


_STRIP: Final = 32
# Columns between two checks of which rows are still incomplete.
_GROWTH: Final = 4
_CELLS: Final = 4_000_000
# Candidates, or counters of groups, held at once.
# Quantiles of the depth at which rows are read together: a few large reads are faster than many small ones.
_PILOT: Final = 128
_ENOUGH: Final = 0.9
_MARKS: Final = 4_000_000
# Marks held at once: 4 MB stay near the processor.


@dataclass(frozen=True, eq=False)
class OpenLists:
    """Lists of m users that are being filled: their arrays are written to."""

    items: NDArray[np.int32]
    """[m, k] -1 if the place is open."""
    scores: NDArray[np.float32]
    from_fallback: NDArray[np.bool_]
    hide: Any
    """CSR, m x n_items, or None."""
    limits: tuple[ActiveCap, ...]
    n_items: int

    def fill(self, stream: Stream, places: NDArray[np.bool_], fallback: bool) -> None:
        """Put the best usable candidates into the open ones of `places` [k], from the first to the last.

        Places stay open only if the stream has no further candidate that the list may have.
        """
        filling = _Filling(self, stream, (self.items < 0) & places, fallback)
        rows = np.flatnonzero(filling.places.any(axis=1))
        if len(rows) and stream.depth:
            filling.settle(rows, filling.needed(rows))

    def excluded(self, rows: NDArray[np.int64], items: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Return [r, n] which of `items` [r, n] are hidden from those rows or on their lists already."""
        hide = self.hide if self.hide is None or len(rows) == len(self.items) else self.hide[rows]
        taken = self.items[rows]
        return exclusion_mask(items, hide, taken if (taken >= 0).any() else None, self.n_items)


@dataclass(frozen=True, eq=False)
class _Filling:
    lists: OpenLists
    stream: Stream
    places: NDArray[np.bool_]
    """[m, k] the places to fill."""
    fallback: bool

    def needed(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return [r] a depth at which enough candidates are left after exclusions, and one more to show the end."""
        need = self.places[rows].sum(axis=1) + (self.lists.items[rows] >= 0).sum(axis=1) + 1
        if self.lists.hide is not None:
            need += np.diff(self.lists.hide.indptr)[rows]
        classes = np.quantile(need, (0.5, 0.8, 0.95, 0.99, 1.0), method="higher").astype(np.int64)
        return self._within(classes[np.searchsorted(classes, need)])

    def settle(self, rows: NDArray[np.int64], depth: NDArray[np.int64]) -> None:
        """Fill the lists of those rows, with `depth` [r] to begin with."""
        if self.lists.limits and len(rows) >= 8 * _PILOT:
            # The depth that lists under caps need depends on the catalogue; a pilot of a few lists estimates it.
            pilot = np.zeros(len(rows), dtype=bool)
            pilot[:: len(rows) // _PILOT] = True
            used = self._settle(rows[pilot], depth[pilot])
            rows, depth = rows[~pilot], depth[~pilot]
            depth = self._within(np.maximum(depth, 1 + int(np.quantile(used, _ENOUGH, method="higher"))))
        self._settle(rows, depth)

    def _settle(self, rows: NDArray[np.int64], depth: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return [r] how many candidates each list used."""
        used = np.zeros(len(rows), dtype=np.int64)
        waiting = np.arange(len(rows))
        while len(waiting):
            settled = np.zeros(len(waiting), dtype=bool)
            for n, block in self._blocks(depth):
                settled[block], used[waiting[block]] = self._attempt(rows[waiting[block]], n)
            waiting, depth = waiting[~settled], self._within(depth[~settled] * _GROWTH)
        return used

    def _blocks(self, depth: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield depths with the rows to read that deep, in blocks of bounded memory."""
        for n in np.unique(depth).tolist():
            rows = np.flatnonzero(depth == n)
            most = max(1, _CELLS // max(n, *(limit.groups for limit in self.lists.limits), 1))
            for start in range(0, len(rows), most):
                yield n, rows[start : start + most]

    def _within(self, depth: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.minimum(depth, self.stream.depth)

    def _attempt(self, rows: NDArray[np.int64], n: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Write the lists that are certain at depth n; return [r] which they are, and [r] how deep they read."""
        best = self.stream.best(rows, n)
        free, want = ~self.lists.excluded(rows, best.items), self.places[rows].sum(axis=1)
        limits = self.lists.limits
        chosen = first_within(limits, best.items, free, want, self.lists.items[rows]) if limits else first(free, want)
        full, width = chosen.sum(axis=1) == want, chosen.shape[1]
        used = np.where(full, width - np.argmax(chosen[:, ::-1], axis=1), width)
        certain = best.ended | (full & ~(_last(chosen, best) <= best.beyond))
        chosen[~certain] = False
        self._write(rows, best, chosen)
        return certain, used

    def _write(self, rows: NDArray[np.int64], best: RankedPrefix, chosen: NDArray[np.bool_]) -> None:
        places = first(self.places[rows], chosen.sum(axis=1))
        for array, values in ((self.lists.items, best.items), (self.lists.scores, best.scores)):
            part = array[rows]
            part[places] = values[chosen]
            array[rows] = part
        if self.fallback:
            self.lists.from_fallback[rows] |= places


def _last(chosen: NDArray[np.bool_], best: RankedPrefix) -> NDArray[np.float32]:
    """Return [r] the lowest chosen score; any value for rows without one."""
    scores, ends = best.scores[chosen], np.cumsum(chosen.sum(axis=1)) - 1
    return scores[np.maximum(ends, 0)] if len(scores) else np.full(len(chosen), np.nan, dtype=np.float32)


def exclusion_mask(
    items: NDArray[np.int32], hide: Any, taken: NDArray[np.int32] | None, n_items: int
) -> NDArray[np.bool_]:
    """Return [r, n] which of `items` [r, n] are in their row of `hide` or of `taken` [r, k].

    `hide` is CSR, r x n_items, or None; all its stored entries count. An item of -1 is excluded too, and is ignored in
    `taken`.
    """
    if hide is None and taken is None:
        return items < 0
    rows, width = max(1, min(len(items), _MARKS // (n_items + 1))), n_items + 1
    # Each row of marks ends with one for item -1: index -1 of a row is the last mark of the row before it.
    marks = np.zeros(rows * width, dtype=bool)
    marks[n_items::width] = True
    begin = np.arange(len(items)) % rows * width
    marked = [] if hide is None else [_of_matrix(hide, begin)]
    marked += [] if taken is None else [_of_lists(taken, begin)]
    excluded, positions = np.empty(items.shape, dtype=bool), begin[:, None] + items
    for start in range(0, len(items), rows):
        end = min(start + rows, len(items))
        block = [codes[bounds[start] : bounds[end]] for codes, bounds in marked]
        for codes in block:
            marks[codes] = True
        excluded[start:end] = marks[positions[start:end]]
        for codes in block:
            marks[codes] = False
    return excluded


def _of_matrix(hide: Any, begin: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return the positions to mark, row after row, and the bounds of each row among them."""
    return np.repeat(begin, np.diff(hide.indptr)) + hide.indices, hide.indptr


def _of_lists(taken: NDArray[np.int32], begin: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    listed = taken >= 0
    return (begin[:, None] + taken)[listed], np.concatenate([[0], np.cumsum(listed.sum(axis=1))])


def first(free: NDArray[np.bool_], want: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return [r, n] the first of the `free` candidates, `want` [r] of each row."""
    return free & (np.cumsum(free, axis=1, dtype=np.int32) <= want[:, None])


def first_within(
    caps: tuple[ActiveCap, ...],
    items: NDArray[np.int32],
    free: NDArray[np.bool_],
    want: NDArray[np.int64],
    taken: NDArray[np.int32],
) -> NDArray[np.bool_]:
    """Return [r, n] the first `free` candidates of `items` [r, n] within the caps, `want` [r] of each row.

    `taken` [r, k] are the items that the rows have already, or -1: they count.
    """
    chosen = np.zeros(free.shape, dtype=bool)
    remaining = [_remaining(cap, taken) for cap in caps]
    missing = want.astype(np.int32)
    for start in range(0, items.shape[1], _STRIP):
        rows = np.flatnonzero(missing)
        if not len(rows):
            break
        columns = slice(start, start + _STRIP)
        strip = np.ascontiguousarray(items[rows, columns].T)
        counters = [rows * (cap.groups + 1) + cap.group[strip] for cap in caps]
        strip_choice, missing[rows] = _column_by_column(free[rows, columns].T, counters, remaining, missing[rows])
        chosen[rows, columns] = strip_choice.T
    return chosen


def _remaining(cap: ActiveCap, taken: NDArray[np.int32]) -> NDArray[Any]:
    """Return [r x (groups + 1)] how many more items of each group a row may have."""
    width = cap.groups + 1
    remaining = np.full((len(taken), width), cap.most, dtype=np.int32)
    remaining[:, -1] = np.iinfo(np.int32).max
    row, place = np.nonzero(taken >= 0)
    np.subtract.at(remaining, (row, cap.group[taken[row, place]]), 1)
    return remaining.reshape(-1)


def _column_by_column(
    free: NDArray[np.bool_],
    counters: list[NDArray[np.int64]],
    remaining: list[NDArray[Any]],
    missing: NDArray[np.int32],
) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """Return the chosen ones [n, r] of the `free` [n, r], and how many each row [r] still misses.

    Counts down the `remaining` of each group.
    """
    chosen = np.empty(free.shape, dtype=bool)
    for column, may in enumerate(np.ascontiguousarray(free)):
        counts = [budget.take(counter[column]) for budget, counter in zip(remaining, counters, strict=True)]
        taken = may & (missing > 0)
        for count in counts:
            taken &= count > 0
        for budget, counter, before in zip(remaining, counters, counts, strict=True):
            # Rows have counters of their own, so that no counter occurs twice.
            budget[counter[column]] = before - taken
        missing = missing - taken
        chosen[column] = taken
    return chosen, missing

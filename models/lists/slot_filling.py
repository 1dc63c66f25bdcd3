"""Fills places of lists from a stream of candidates, and reads deeper only for lists that are not certain yet."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.lists.candidate_streams import RankedPrefix, Stream
from models.lists.rules.caps import ActiveCap, first, first_within

_GROWTH: Final = 4
_CELLS: Final = 4_000_000
# Candidates, or counters of groups, held at once.
_CLASSES: Final = (0.5, 0.8, 0.95, 0.99, 1.0)
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
        classes = np.quantile(need, _CLASSES, method="higher").astype(np.int64)
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

"""Fills places of lists from a stream of candidates, asking for more only where a list is not certain yet."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.lists.candidate_streams import RankedPrefix, Stream
from models.lists.exclusion_mask import exclusion_mask
from models.lists.rules.caps import Limit, first, first_within

_GROWTH: Final = 4
_CELLS: Final = 4_000_000
# Candidates, or counters of groups, held at once.
_CLASSES: Final = (0.5, 0.8, 0.95, 0.99, 1.0)
# Shares of the rows that are asked about equally deep: a few large questions are quicker than many small ones.
_PILOT: Final = 128
_ENOUGH: Final = 0.9


@dataclass(frozen=True, eq=False)
class OpenLists:
    """Lists of m users that are being filled: their arrays are written to."""

    items: NDArray[np.int32]
    """[m, k] -1 where open."""
    scores: NDArray[np.float32]
    from_fallback: NDArray[np.bool_]
    hide: Any
    """CSR, m x n_items, or None."""
    limits: tuple[Limit, ...]
    n_items: int

    def fill(self, stream: Stream, places: NDArray[np.bool_], fallback: bool) -> None:
        """Put the best that each may have into the open ones of `places` [k], from the first to the last.

        Places stay open only where the stream has nothing left that a list may have.
        """
        filling = _Filling(self, stream, (self.items < 0) & places, fallback)
        rows = np.flatnonzero(filling.places.any(axis=1))
        if len(rows) and stream.depth:
            filling.settle(rows, filling.needed(rows))

    def exclusion_mask(self, rows: NDArray[np.int64], items: NDArray[np.int32]) -> NDArray[np.bool_]:
        """[r, n] which of `items` [r, n] those rows may not get, or have."""
        hide = self.hide if self.hide is None or len(rows) == len(self.items) else self.hide[rows]
        taken = self.items[rows]
        return exclusion_mask(items, hide, taken if (taken >= 0).any() else None, self.n_items)


@dataclass(frozen=True, eq=False)
class _Filling:
    lists: OpenLists
    stream: Stream
    places: NDArray[np.bool_]
    """[m, k] the places that are to be filled."""
    fallback: bool

    def needed(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """[r] how deep to look, so that whatever is kept out leaves enough, and one more that shows where it ends."""
        need = self.places[rows].sum(axis=1) + (self.lists.items[rows] >= 0).sum(axis=1) + 1
        if self.lists.hide is not None:
            need += np.diff(self.lists.hide.indptr)[rows]
        classes = np.quantile(need, _CLASSES, method="higher").astype(np.int64)
        return self._within(classes[np.searchsorted(classes, need)])

    def settle(self, rows: NDArray[np.int64], depth: NDArray[np.int64]) -> None:
        """Fill the lists of those rows, looking so deep [r] at first."""
        if self.lists.limits and len(rows) >= 8 * _PILOT:
            # How deep a list under caps has to look depends on the catalogue; a few of them tell it for the others.
            pilot = np.zeros(len(rows), dtype=bool)
            pilot[:: len(rows) // _PILOT] = True
            used = self._settle(rows[pilot], depth[pilot])
            rows, depth = rows[~pilot], depth[~pilot]
            depth = self._within(np.maximum(depth, 1 + int(np.quantile(used, _ENOUGH, method="higher"))))
        self._settle(rows, depth)

    def _settle(self, rows: NDArray[np.int64], depth: NDArray[np.int64]) -> NDArray[np.int64]:
        """[r] how many candidates each list used up."""
        used = np.zeros(len(rows), dtype=np.int64)
        waiting = np.arange(len(rows))
        while len(waiting):
            settled = np.zeros(len(waiting), dtype=bool)
            for n, here in self._blocks(depth):
                settled[here], used[waiting[here]] = self._attempt(rows[waiting[here]], n)
            waiting, depth = waiting[~settled], self._within(depth[~settled] * _GROWTH)
        return used

    def _blocks(self, depth: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Depths, and the rows to look so deep for, no more at once than memory should hold."""
        for n in np.unique(depth).tolist():
            here = np.flatnonzero(depth == n)
            most = max(1, _CELLS // max(n, *(limit.groups for limit in self.lists.limits), 1))
            for start in range(0, len(here), most):
                yield n, here[start : start + most]

    def _within(self, depth: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.minimum(depth, self.stream.depth)

    def _attempt(self, rows: NDArray[np.int64], n: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Which lists are certain [r], and are written; and how deep they looked [r]."""
        best = self.stream.best(rows, n)
        free, want = ~self.lists.exclusion_mask(rows, best.items), self.places[rows].sum(axis=1)
        limits = self.lists.limits
        keep = first_within(limits, best.items, free, want, self.lists.items[rows]) if limits else first(free, want)
        full, width = keep.sum(axis=1) == want, keep.shape[1]
        used = np.where(full, width - np.argmax(keep[:, ::-1], axis=1), width)
        certain = best.ended | (full & ~(_last(keep, best) <= best.beyond))
        keep[~certain] = False
        self._write(rows, best, keep)
        return certain, used

    def _write(self, rows: NDArray[np.int64], best: RankedPrefix, keep: NDArray[np.bool_]) -> None:
        places = first(self.places[rows], keep.sum(axis=1))
        for said, found in ((self.lists.items, best.items), (self.lists.scores, best.scores)):
            part = said[rows]
            part[places] = found[keep]
            said[rows] = part
        if self.fallback:
            self.lists.from_fallback[rows] |= places


def _last(keep: NDArray[np.bool_], best: RankedPrefix) -> NDArray[np.float32]:
    """[r] the least score that is kept; where nothing is, anything."""
    scores, ends = best.scores[keep], np.cumsum(keep.sum(axis=1)) - 1
    return scores[np.maximum(ends, 0)] if len(scores) else np.full(len(keep), np.nan, dtype=np.float32)

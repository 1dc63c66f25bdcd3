"""Taking candidates in order, at most so many of one group."""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

_STRIP: Final = 32
# Columns between two looks at which rows still want something.


class Cap(NamedTuple):
    """At most so many of one group in one list."""

    group: NDArray[np.int32]
    """[n] of each item; -1 where it has none, and is not counted."""
    most: int


class Limit(NamedTuple):
    """A cap, of the groups alone that can exceed it."""

    group: NDArray[np.int32]
    """[n] from 0; `groups` for items that nothing limits."""
    groups: int
    most: int


def limits(caps: tuple[Cap, ...], allowed: NDArray[np.bool_], k: int) -> tuple[Limit, ...]:
    """The caps of lists of `k` of the items `allowed` [n], as far as they can keep anything out."""
    found = []
    for cap in caps:
        grouped = allowed & (cap.group >= 0)
        large = np.flatnonzero(np.bincount(cap.group[grouped]) > cap.most)
        if cap.most < k and len(large):
            group = np.full(len(allowed), len(large), dtype=np.int32)
            limited = np.flatnonzero(np.isin(cap.group, large))
            group[limited] = np.searchsorted(large, cap.group[limited])
            found.append(Limit(group, len(large), cap.most))
    return tuple(found)


def first(free: NDArray[np.bool_], want: NDArray[np.int64]) -> NDArray[np.bool_]:
    """[r, n] the first of the `free` candidates, `want` [r] of each row."""
    found: NDArray[np.bool_] = free & (np.cumsum(free, axis=1, dtype=np.int32) <= want[:, None])
    return found


def first_within(
    limits: tuple[Limit, ...],
    items: NDArray[np.int32],
    free: NDArray[np.bool_],
    want: NDArray[np.int64],
    taken: NDArray[np.int32],
) -> NDArray[np.bool_]:
    """[r, n] the first of the `free` candidates `items` [r, n] that the limits allow, `want` [r] of each row.

    `taken` [r, k] are the items that the rows have already, or -1: they count.
    """
    keep = np.zeros(free.shape, dtype=bool)
    left = [_left(limit, taken) for limit in limits]
    missing = want.astype(np.int32)
    for start in range(0, items.shape[1], _STRIP):
        rows = np.flatnonzero(missing)
        if not len(rows):
            break
        columns = slice(start, start + _STRIP)
        strip = np.ascontiguousarray(items[rows, columns].T)
        counters = [rows * (limit.groups + 1) + limit.group[strip] for limit in limits]
        found, missing[rows] = _column_by_column(free[rows, columns].T, counters, left, missing[rows])
        keep[rows, columns] = found.T
    return keep


def _left(limit: Limit, taken: NDArray[np.int32]) -> NDArray[Any]:
    """[r x (groups + 1)] how many more of each group a row may have."""
    width = limit.groups + 1
    left = np.full((len(taken), width), limit.most, dtype=np.int32)
    left[:, -1] = np.iinfo(np.int32).max
    row, place = np.nonzero(taken >= 0)
    np.subtract.at(left, (row, limit.group[taken[row, place]]), 1)
    return left.reshape(-1)


def _column_by_column(
    free: NDArray[np.bool_], counters: list[NDArray[np.int64]], left: list[NDArray[Any]], missing: NDArray[np.int32]
) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """What is taken [n, r] of the `free` [n, r], and how many each row misses [r] then; counts down what is `left`."""
    found = np.empty(free.shape, dtype=bool)
    for column, may in enumerate(np.ascontiguousarray(free)):
        now = [remaining.take(counter[column]) for remaining, counter in zip(left, counters, strict=True)]
        taken = may & (missing > 0)
        for remaining in now:
            taken &= remaining > 0
        for remaining, counter, before in zip(left, counters, now, strict=True):
            # Rows have counters of their own, so that none is named twice.
            remaining[counter[column]] = before - taken
        missing = missing - taken
        found[column] = taken
    return found, missing

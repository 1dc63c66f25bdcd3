"""Takes candidates in order, up to a maximum per group."""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

_STRIP: Final = 32
# Columns between two checks of which rows are still incomplete.


class Cap(NamedTuple):
    """The maximum of one group in one list."""

    group: NDArray[np.int32]
    """[n] of each item; -1 for items without a group, which are not counted."""
    most: int


class ActiveCap(NamedTuple):
    """A cap with only the groups that can exceed it."""

    group: NDArray[np.int32]
    """[n] from 0; `groups` for items that no cap limits."""
    groups: int
    most: int


def active_caps(caps: tuple[Cap, ...], allowed: NDArray[np.bool_], k: int) -> tuple[ActiveCap, ...]:
    """Return the caps that can exclude any of the items `allowed` [n] from lists of `k`."""
    active = []
    for cap in caps:
        grouped = allowed & (cap.group >= 0)
        large = np.flatnonzero(np.bincount(cap.group[grouped]) > cap.most)
        if cap.most < k and len(large):
            group = np.full(len(allowed), len(large), dtype=np.int32)
            limited = np.flatnonzero(np.isin(cap.group, large))
            group[limited] = np.searchsorted(large, cap.group[limited])
            active.append(ActiveCap(group, len(large), cap.most))
    return tuple(active)


def first(free: NDArray[np.bool_], want: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return [r, n] the first of the `free` candidates, `want` [r] of each row."""
    chosen: NDArray[np.bool_] = free & (np.cumsum(free, axis=1, dtype=np.int32) <= want[:, None])
    return chosen


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

"""Which candidates a user may not get: hidden from that one user, or on the list already."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_CELLS: Final = 4_000_000
# Marks held at once: 4 MB stay near the processor.


def exclusion_mask(
    items: NDArray[np.int32], hide: Any, taken: NDArray[np.int32] | None, n_items: int
) -> NDArray[np.bool_]:
    """[r, n] which of `items` [r, n] are in their row of `hide` (CSR, r x n_items, or None) or of `taken` [r, k].

    An item of -1 is kept out too, and in `taken` it means nothing. All entries that `hide` stores count.
    """
    if hide is None and taken is None:
        return items < 0
    rows, width = max(1, min(len(items), _CELLS // (n_items + 1))), n_items + 1
    # Each row of marks ends with one for -1: seen from the next row, or for the first from the end, it stands there.
    marks = np.zeros(rows * width, dtype=bool)
    marks[n_items::width] = True
    begin = np.arange(len(items)) % rows * width
    marked = [] if hide is None else [_of_matrix(hide, begin)]
    marked += [] if taken is None else [_of_lists(taken, begin)]
    found, looked_up = np.empty(items.shape, dtype=bool), begin[:, None] + items
    for start in range(0, len(items), rows):
        end = min(start + rows, len(items))
        here = [codes[bounds[start] : bounds[end]] for codes, bounds in marked]
        for codes in here:
            marks[codes] = True
        found[start:end] = marks[looked_up[start:end]]
        for codes in here:
            marks[codes] = False
    return found


def _of_matrix(hide: Any, begin: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Places to mark, row after row, and where each row begins among them."""
    return np.repeat(begin, np.diff(hide.indptr)) + hide.indices, hide.indptr


def _of_lists(taken: NDArray[np.int32], begin: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    there = taken >= 0
    return (begin[:, None] + taken)[there], np.concatenate([[0], np.cumsum(there.sum(axis=1))])

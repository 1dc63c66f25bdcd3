"""Marks the candidates that a user may not get: hidden from that user, or on the list already."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_CELLS: Final = 4_000_000
# Marks held at once: 4 MB stay near the processor.


def exclusion_mask(
    items: NDArray[np.int32], hide: Any, taken: NDArray[np.int32] | None, n_items: int
) -> NDArray[np.bool_]:
    """Return [r, n] which of `items` [r, n] are in their row of `hide` or of `taken` [r, k].

    `hide` is CSR, r x n_items, or None; all its stored entries count. An item of -1 is excluded too, and is ignored in
    `taken`.
    """
    if hide is None and taken is None:
        return items < 0
    rows, width = max(1, min(len(items), _CELLS // (n_items + 1))), n_items + 1
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

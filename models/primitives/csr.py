"""Locate the entries of some rows of a CSR matrix."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Entries(NamedTuple):
    """The entries of the requested rows, one row after the other."""

    row: NDArray[np.int64]
    """[n] position among the requested rows."""
    at: NDArray[np.int64]
    """[n] position of the entry in the arrays of the matrix."""


def entries(indptr: NDArray[Any], rows: NDArray[Any]) -> Entries:
    """Return the entries of these rows of the matrix with this `indptr`; row -1 has none."""
    known = np.maximum(rows, 0)
    first = indptr[known].astype(np.int64)
    count = np.where(rows >= 0, indptr[known + 1] - first, 0)
    before = np.cumsum(count) - count
    row = np.repeat(np.arange(len(rows)), count)
    return Entries(row, np.arange(len(row)) + (first - before)[row])


def stored_columns(matrix: Any, rows: NDArray[Any]) -> NDArray[np.int32]:
    """Return the columns of the entries of a few rows. For long rows, copies are faster than an index of each entry."""
    bounds = zip(matrix.indptr[rows].tolist(), matrix.indptr[rows + 1].tolist(), strict=True)
    parts = [matrix.indices[first:last] for first, last in bounds]
    return np.concatenate([np.empty(0, dtype=matrix.indices.dtype), *parts])


def places(groups: NDArray[Any]) -> NDArray[np.int64]:
    """Return the position of each element within its group ([n]), from ascending `groups` [n]."""
    position: NDArray[np.int64] = np.arange(len(groups)) - np.searchsorted(groups, groups)
    return position

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


class StoredRows(NamedTuple):
    """The stored entries of some rows of a CSR, one row after the other."""

    columns: NDArray[np.int32]
    values: NDArray[Any]
    lengths: NDArray[np.int64]


def stored(matrix: Any, rows: NDArray[Any]) -> StoredRows:
    """Return the entries of a few rows: for rows of many entries, copies are faster than an index of each entry."""
    begins, ends = matrix.indptr[rows], matrix.indptr[rows + 1]
    parts = [slice(*bounds) for bounds in zip(begins.tolist(), ends.tolist(), strict=True)] or [slice(0, 0)]
    columns, values = (np.concatenate([array[part] for part in parts]) for array in (matrix.indices, matrix.data))
    return StoredRows(columns, values, ends - begins)


def places(groups: NDArray[Any]) -> NDArray[np.int64]:
    """Return the position of each element within its group ([n]), from ascending `groups` [n]."""
    position: NDArray[np.int64] = np.arange(len(groups)) - np.searchsorted(groups, groups)
    return position

"""Where the entries of some rows of a CSR matrix stand."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Entries(NamedTuple):
    """The entries of the rows asked, one row after the other."""

    row: NDArray[np.int64]
    """[n] position among the rows asked."""
    at: NDArray[np.int64]
    """[n] where the entry stands in the matrix's arrays."""


def entries(indptr: NDArray[Any], rows: NDArray[Any]) -> Entries:
    """Of these rows of the matrix with that `indptr`; row -1 has none."""
    known = np.maximum(rows, 0)
    first = indptr[known].astype(np.int64)
    count = np.where(rows >= 0, indptr[known + 1] - first, 0)
    before = np.cumsum(count) - count
    row = np.repeat(np.arange(len(rows)), count)
    return Entries(row, np.arange(len(row)) + (first - before)[row])


def places(groups: NDArray[Any]) -> NDArray[np.int64]:
    """[n] how many of the same group stand before each, from ascending `groups` [n]."""
    found: NDArray[np.int64] = np.arange(len(groups)) - np.searchsorted(groups, groups)
    return found

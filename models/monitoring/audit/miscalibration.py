"""Measures whether lists have the categories that their user buys, in the same proportions."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

ALPHA: Final = 0.01
"""Share of the history mixed into the list, so that a missing category gives no infinite divergence."""


def miscalibration(
    bought: sparse.csr_array, shown: sparse.csr_array, category: NDArray[np.str_]
) -> NDArray[np.float64]:
    """Return [m] the Kullback-Leibler divergence, in nats, of the categories of the lists from those of the history.

    `bought` and `shown` are CSR [m, n], `category` [n]. With p of the history and q of the lists it is the sum of
    p log(p / q'), q' = (1 - alpha) q + alpha p (Steck 2018): 0 when both are alike. Items of unknown category do
    not count. NaN for users without items of known category in either.
    """
    known = category != ""
    names, code = np.unique(category[known], return_inverse=True)
    positions = np.flatnonzero(known)
    of_item = sparse.csr_array((np.ones(len(positions)), (positions, code)), shape=(len(category), len(names)))
    p, q = (_shares(pairs, of_item) for pairs in (bought, shown))
    mixed = (1 - ALPHA) * q + ALPHA * p
    with np.errstate(invalid="ignore", divide="ignore"):
        divergence: NDArray[np.float64] = np.where(p == 0, 0.0, p * np.log(p / mixed)).sum(axis=1)
    return divergence


def _shares(pairs: sparse.csr_array, of_item: sparse.csr_array) -> NDArray[np.float64]:
    """Return [m, n_categories] shares; rows sum to 1, NaN for users without items."""
    counts = (pairs.astype(np.float64) @ of_item).toarray()
    with np.errstate(invalid="ignore", divide="ignore"):
        shares: NDArray[np.float64] = counts / counts.sum(axis=1, keepdims=True)
    return shares

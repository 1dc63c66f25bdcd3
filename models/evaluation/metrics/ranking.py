"""Computes the accuracy of ranked lists per user, over the whole catalogue, never over sampled items."""

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from models.primitives.vocabulary import NO_INDEX

if TYPE_CHECKING:
    from scipy import sparse

METRICS = ("ndcg", "recall", "precision", "map", "hit_rate", "mrr")
METRIC: Final = "ndcg_at_10"
"""The deciding metric."""


def accuracy(ranked: NDArray[np.int32], targets: "sparse.csr_array") -> dict[str, NDArray[np.float64]]:
    """Return each of `METRICS` per user [m], of lists [m, k] against a boolean CSR [m, n_items].

    With t targets, NDCG and MAP are measured against an ideal list of min(k, t) hits (Järvelin & Kekäläinen
    2002), MRR counts a first hit within the list. NaN for users without targets.
    """
    k = ranked.shape[1]
    hits = hit_matrix(ranked, targets).astype(np.float64)
    n = np.diff(targets.indptr).astype(np.float64)
    n[n == 0] = np.nan
    best = np.minimum(n, k)
    place = np.arange(1, k + 1)
    discount = 1 / np.log2(place + 1)
    ideal = np.concatenate([[np.nan], np.cumsum(discount)])[np.nan_to_num(best).astype(int)]
    total = hits.sum(axis=1)
    return {
        "ndcg": hits @ discount / ideal,
        "recall": total / n,
        "precision": np.where(np.isnan(n), np.nan, total / k),
        "map": (hits * np.cumsum(hits, axis=1) / place).sum(axis=1) / best,
        "hit_rate": np.where(np.isnan(n), np.nan, total > 0),
        "mrr": np.where(np.isnan(n), np.nan, (hits / place).max(axis=1)),
    }


def hit_matrix(ranked: NDArray[np.int32], targets: "sparse.csr_array") -> NDArray[np.bool_]:
    """Return a boolean [m, k]: whether the item in that place is one of the user's targets."""
    m, n = targets.shape
    user = np.repeat(np.arange(m, dtype=np.int64), np.diff(targets.indptr))
    place = np.arange(m, dtype=np.int64)[:, None] * n + ranked
    hit: NDArray[np.bool_] = np.isin(place, user * n + targets.indices) & (ranked != NO_INDEX)
    return hit

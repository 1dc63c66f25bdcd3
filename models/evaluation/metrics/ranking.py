"""Computes the accuracy of ranked lists per user, over the whole catalogue, never over sampled items."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.primitives.vocabulary import NO_INDEX

METRICS = ("ndcg", "recall", "precision", "map", "hit_rate", "mrr")
METRIC: Final = "ndcg_at_10"
"""The deciding metric."""
COVERAGE: Final = "coverage_at_10"


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


AUC_METRICS: Final = ("roc_auc", "pr_auc")

_UNSCORED: Final = np.float32(-np.inf)

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class ScoreAUC:
    """The scores of m users for all items, sorted once for several target sets."""

    scores: NDArray[np.float32]
    """[m, n_items]"""
    ordered: NDArray[np.float32]
    """[m, n_items] ascending."""

    @classmethod
    def of(cls, scores: NDArray[np.float32]) -> Self:
        """Sort scores; unscored items (-inf, NaN) are tied below all scored ones."""
        ordered = np.where(np.isnan(scores), _UNSCORED, scores)
        ordered.sort(axis=1)
        return cls(scores, ordered)

    def per_user(
        self, targets: sparse.csr_array, hide: sparse.csr_array | None = None
    ) -> dict[str, NDArray[np.float64]]:
        """Return each of `AUC_METRICS` per user [m], for targets as a boolean CSR [m, n_items].

        `roc_auc` is the chance that a bought item ranks above another item, ties counting half (Hanley and McNeil
        1982). `pr_auc` is the average precision, with items of equal score together. Items in `hide` (CSR of the same
        shape) do not count. NaN for users without targets, and for `roc_auc` also for users who bought all items.
        """
        m, n = targets.shape
        hide = sparse.csr_array((m, n), dtype=bool) if hide is None else hide
        target_scores, hidden = self._of(targets), self._of(hide)
        user = np.repeat(np.arange(m), np.diff(targets.indptr))
        below = _counted(self.ordered, target_scores, "left") - _counted(hidden, target_scores, "left")
        up_to = _counted(self.ordered, target_scores, "right") - _counted(hidden, target_scores, "right")
        better = _counted(target_scores, target_scores, "left")
        items, bought = n - np.diff(hide.indptr), np.diff(targets.indptr).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            rank = np.bincount(user, (below + up_to + 1) / 2, minlength=m) - bought * (bought + 1) / 2
            precision = (bought[user] - better) / (items[user] - below)
            average = np.bincount(user, precision, minlength=m) / bought
            return {"roc_auc": rank / (bought * (items - bought)), "pr_auc": average}

    def _of(self, matrix: sparse.csr_array) -> list[Floats]:
        """Return each user's scores of the items in a CSR, ascending."""
        user = np.repeat(np.arange(len(self.scores)), np.diff(matrix.indptr))
        scores = self.scores[user, matrix.indices]
        scores = np.where(np.isnan(scores), _UNSCORED, scores)
        ordered = scores[np.lexsort((scores, user))]
        return np.split(ordered, matrix.indptr[1:-1])


def _counted(user_scores: Any, scores: list[Floats], side: Any) -> NDArray[np.int64]:
    """Count for each score of each user the user's other scores (ascending) that are lower, or not higher ("right")."""
    counts = [others.searchsorted(own, side) for others, own in zip(user_scores, scores, strict=True)]
    return np.concatenate(counts) if counts else np.empty(0, dtype=np.int64)

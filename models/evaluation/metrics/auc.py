"""How well scores tell what a user bought from all that he did not, wherever in the list it stands."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

AUC_METRICS: Final = ("roc_auc", "pr_auc")

_NOTHING: Final = np.float32(-np.inf)

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class ScoreAUC:
    """The scores of m users for all items, sorted once, so that several goals can be held against them."""

    scores: NDArray[np.float32]
    """[m, n_items]"""
    ordered: NDArray[np.float32]
    """[m, n_items] ascending."""

    @classmethod
    def of(cls, scores: NDArray[np.float32]) -> Self:
        """From scores; what a model says nothing of (-inf, NaN) is tied below all it speaks of."""
        ordered = np.where(np.isnan(scores), _NOTHING, scores)
        ordered.sort(axis=1)
        return cls(scores, ordered)

    def per_user(self, targets: Any, hide: Any = None) -> dict[str, NDArray[np.float64]]:
        """Each of `SEPARATION` per user [m], for targets as a boolean CSR [m, n_items].

        `roc_auc` is the chance that an item bought stands above one that was not, ties counting half (Hanley and
        McNeil 1982); `pr_auc` the average precision, items of one score coming all at once. What `hide` (CSR, of
        the same shape) names is left out. NaN for users without targets, `roc_auc` also for those who bought all.
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

    def _of(self, matrix: Any) -> list[Floats]:
        """Each user's scores of the items that a CSR names, ascending."""
        user = np.repeat(np.arange(len(self.scores)), np.diff(matrix.indptr))
        scores = self.scores[user, matrix.indices]
        scores = np.where(np.isnan(scores), _NOTHING, scores)
        ordered = scores[np.lexsort((scores, user))]
        return np.split(ordered, matrix.indptr[1:-1])


def _counted(user_scores: Any, scores: list[Floats], side: Any) -> NDArray[np.int64]:
    """For each score of each user how many of that user's others (ascending) are lower, or not higher ("right")."""
    counts = [others.searchsorted(own, side) for others, own in zip(user_scores, scores, strict=True)]
    return np.concatenate(counts) if counts else np.empty(0, dtype=np.int64)

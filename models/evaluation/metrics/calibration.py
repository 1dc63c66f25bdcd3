"""A model as a classifier of pairs: of what it named for users, which were bought?"""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models.evaluation.metrics.bootstrap import Estimate, Statistic, estimate, intervals_of_ratios
from models.evaluation.metrics.ranking import hit_matrix
from models.primitives.vocabulary import NO_INDEX
from models.retrieval.source_protocols import TopCandidates

DEPTH: Final = 500
"""Pairs are the first so many items that a model names for a user, without the fallback's."""
USERS: Final = 2000
"""They are of so many users at most: the first by key. Keys are pseudonyms, in an order that means nothing."""
BINS: Final = 15
_FINE: Final = np.linspace(0, 1, 201)

Floats = NDArray[np.float64]


class Reliability(NamedTuple):
    """Pairs in bins of equal number, by rising probability."""

    probability: Floats
    """[bins] mean probability."""
    bought: Floats
    """[bins] share that was bought, with its interval by user."""
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Pairs:
    """n pairs of user and item."""

    user: NDArray[np.int64]
    """[n] position among the `n_users` who were asked."""
    score: NDArray[np.float32]
    bought: NDArray[np.bool_]
    n_users: int
    targets: int
    """What these users bought, named or not."""
    probabilities: bool
    """Does the model say that its scores are probabilities?"""

    @classmethod
    def of(cls, ranking: TopCandidates, targets: Any, probabilities: bool) -> Self:
        """From what was named for m users, and the boolean CSR of what they bought."""
        user, place = np.nonzero(ranking.items != NO_INDEX)
        bought = hit_matrix(ranking.items, targets)[user, place]
        return cls(user, ranking.scores[user, place], bought, len(ranking.items), int(targets.nnz), probabilities)

    @property
    def separable(self) -> bool:
        """Is there something bought and something not?"""
        return bool(0 < self.bought.sum() < len(self.bought))

    def roc(self) -> tuple[Floats, Floats]:
        """False and true positive rates, by falling threshold."""
        from sklearn.metrics import roc_curve

        false, true, _ = roc_curve(self.bought, self.score)
        return false, true

    def precision_recall(self) -> tuple[Floats, Floats]:
        """Precision and recall, by falling threshold. Recall is of all that was bought, so that it ends at what the
        model has named."""
        from sklearn.metrics import precision_recall_curve

        precision, recall, _ = precision_recall_curve(self.bought, self.score, drop_intermediate=True)
        return precision[-2::-1], recall[-2::-1] * (self.bought.sum() / max(1, self.targets))

    def figures(self, seed: int) -> dict[str, Estimate]:
        """Area under the ROC curve and average precision of all pairs at once; of probabilities the Brier score and
        the expected calibration error (Naeini et al. 2015, bins of equal number). Intervals are by user."""
        if not self.separable:
            return {}
        from sklearn.metrics import average_precision_score, roc_auc_score

        exact = {"roc_auc": roc_auc_score, "pr_auc": average_precision_score}
        figures = {
            name: estimate(statistic, self.n_users, seed)._replace(value=float(exact[name](self.bought, self.score)))
            for name, statistic in self._areas().items()
        }
        if self.probabilities:
            miss = self._sums(np.zeros(len(self.user), dtype=np.int64), (self.score - self.bought) ** 2)
            count = self._sums(np.zeros(len(self.user), dtype=np.int64))
            figures["brier"] = estimate(lambda drawn: ((drawn @ miss) / (drawn @ count))[:, 0], self.n_users, seed)
            figures["calibration_error"] = estimate(self._calibration_error(), self.n_users, seed)
        return {f"pairs_{name}": figure for name, figure in figures.items()}

    def reliability(self, seed: int, bins: int = BINS) -> Reliability:
        """What was bought of what was said to be likely."""
        at = self._bin(bins)
        count, bought, score_sums = self._sums(at), self._sums(at, self.bought), self._sums(at, self.score)
        low, high = intervals_of_ratios(bought, count, seed)
        total = count.sum(axis=0)
        return Reliability(score_sums.sum(axis=0) / total, bought.sum(axis=0) / total, low, high)

    def _areas(self) -> dict[str, Statistic]:
        """Both areas from counts by user and score; scores beside each other are one, for the spread is all we want."""
        edges = np.unique([np.quantile(self.score, _FINE), np.quantile(self.score[self.bought], _FINE)])
        at = len(edges) - np.searchsorted(edges, self.score, "right")
        pairs, bought = self._sums(at), self._sums(at, self.bought)

        def roc(drawn: Floats) -> Floats:
            true = np.cumsum(drawn @ bought, axis=1)
            false = np.cumsum(drawn @ pairs, axis=1) - true
            area: Floats = np.trapezoid(true, false, axis=1) + true[:, 0] * false[:, 0] / 2
            return area / (true[:, -1] * false[:, -1])

        def precision(drawn: Floats) -> Floats:
            hits, shown = drawn @ bought, np.cumsum(drawn @ pairs, axis=1)
            at_each = np.cumsum(hits, axis=1) / np.maximum(shown, 1)
            average: Floats = (hits * at_each).sum(axis=1) / hits.sum(axis=1)
            return average

        return {"roc_auc": roc, "pr_auc": precision}

    def _calibration_error(self) -> Statistic:
        at = self._bin(BINS)
        over, count = self._sums(at, self.score - self.bought), self._sums(at)
        return lambda drawn: np.abs(drawn @ over).sum(axis=1) / (drawn @ count).sum(axis=1)

    def _bin(self, bins: int) -> NDArray[np.int64]:
        """The bin of each pair, equal scores together."""
        edges = np.unique(np.quantile(self.score, np.arange(1, bins) / bins))
        return np.unique(np.searchsorted(edges, self.score), return_inverse=True)[1]

    def _sums(self, column: NDArray[np.int64], values: NDArray[np.generic] | None = None) -> Floats:
        """[n_users, columns] sums by user and column, by default of ones."""
        width = int(column.max(initial=0)) + 1
        summed = np.bincount(self.user * width + column, values, minlength=self.n_users * width)
        return summed.reshape(self.n_users, width).astype(np.float64)

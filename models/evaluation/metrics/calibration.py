"""Evaluates a model as a classifier of pairs of user and item: was a scored item bought?"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models.evaluation.metrics.bootstrap import Estimate, Statistic, estimate, intervals_of_ratios
from models.evaluation.metrics.ranking import hit_matrix
from models.primitives.vocabulary import NO_INDEX
from models.retrieval.candidate_sources import TopCandidates

if TYPE_CHECKING:
    from scipy import sparse

DEPTH: Final = 500
"""Items per user that make pairs: the first ones by the model's score, without the fallback's."""
USERS: Final = 2000
"""Largest number of users with pairs: the first by key. Keys are pseudonyms, so their order is random."""
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
    """[n] position among the `n_users` users."""
    score: NDArray[np.float32]
    bought: NDArray[np.bool_]
    n_users: int
    targets: int
    """Number of all purchases of these users, scored or not."""
    probabilities: bool
    """Whether the model's scores are probabilities."""

    @classmethod
    def of(cls, ranking: TopCandidates, targets: "sparse.csr_array", probabilities: bool) -> Self:
        """Make pairs from the rankings of m users, and the boolean CSR of their purchases."""
        user, place = np.nonzero(ranking.items != NO_INDEX)
        bought = hit_matrix(ranking.items, targets)[user, place]
        return cls(user, ranking.scores[user, place], bought, len(ranking.items), int(targets.nnz), probabilities)

    @property
    def separable(self) -> bool:
        """Whether there are both bought and other pairs."""
        return bool(0 < self.bought.sum() < len(self.bought))

    def roc(self) -> tuple[Floats, Floats]:
        """Return false and true positive rates, by falling threshold."""
        from sklearn.metrics import roc_curve

        false, true, _ = roc_curve(self.bought, self.score)
        return false, true

    def precision_recall(self) -> tuple[Floats, Floats]:
        """Return precision and recall, by falling threshold.

        Recall is relative to all purchases, so it ends below 1 if the model did not score some of them.
        """
        from sklearn.metrics import precision_recall_curve

        precision, recall, _ = precision_recall_curve(self.bought, self.score, drop_intermediate=True)
        return precision[-2::-1], recall[-2::-1] * (self.bought.sum() / max(1, self.targets))

    def figures(self, seed: int) -> dict[str, Estimate]:
        """Return the ROC AUC and the average precision over all pairs, with intervals by user.

        For probabilities also the Brier score and the expected calibration error (Naeini et al. 2015, bins of equal
        number).
        """
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
        """Return the bought share by predicted probability."""
        at = self._bin(bins)
        count, bought, score_sums = self._sums(at), self._sums(at, self.bought), self._sums(at, self.score)
        low, high = intervals_of_ratios(bought, count, seed)
        total = count.sum(axis=0)
        return Reliability(score_sums.sum(axis=0) / total, bought.sum(axis=0) / total, low, high)

    def _areas(self) -> dict[str, Statistic]:
        """Return both areas as statistics; close scores are merged, because only the spread of samples is needed."""
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
        """Return the bin of each pair, with equal scores together."""
        edges = np.unique(np.quantile(self.score, np.arange(1, bins) / bins))
        return np.unique(np.searchsorted(edges, self.score), return_inverse=True)[1]

    def _sums(self, column: NDArray[np.int64], values: NDArray[np.generic] | None = None) -> Floats:
        """Return [n_users, columns] sums by user and column, by default of ones."""
        width = int(column.max(initial=0)) + 1
        summed = np.bincount(self.user * width + column, values, minlength=self.n_users * width)
        return summed.reshape(self.n_users, width).astype(np.float64)

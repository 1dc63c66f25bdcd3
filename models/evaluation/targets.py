"""Target sets that lists are evaluated on: all purchases, or only items new to the user."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.evaluation.metrics.beyond_accuracy import ItemNovelty, coverage, spread
from models.evaluation.metrics.ranking import accuracy, hit_matrix
from models.evaluation.metrics.user_averages import Figures, averages, averages_by_history, with_bounds
from models.lists.constrained_selection import Selection

if TYPE_CHECKING:
    from scipy import sparse


@dataclass(frozen=True)
class TargetSet:
    """Purchases of m users that lists should contain."""

    prefix: str
    """Prefix of the metric names."""
    targets: "sparse.csr_array"
    """Boolean CSR, m x n_items."""
    hide: "sparse.csr_array | None" = None
    """Items hidden from the lists, in the same shape."""

    def measure(self, ranking: Selection, catalogue: ItemNovelty | None, auc: Figures) -> Figures:
        """Return metrics per user [m] of lists [m, k]: accuracy, AUC, and with `catalogue` also variety."""
        k, n_targets = ranking.items.shape[1], np.diff(self.targets.indptr)
        lists = accuracy(ranking.items, self.targets) | (catalogue.variety(ranking.items) if catalogue else {})
        of_lists = {f"{name}_at_{k}": np.where(n_targets > 0, values, np.nan) for name, values in lists.items()}
        return {"targets": n_targets.astype(np.float64), **of_lists, **auc}

    def summarise(
        self, measured: Figures, ranking: Selection, baskets: NDArray[np.int64] | None, seed: int
    ) -> dict[str, float]:
        """Return the averages of `measured` and the metrics of all lists together; `baskets` [m] adds intervals."""
        counted = measured["targets"] > 0
        measured_users = {name: values[counted] for name, values in measured.items()}
        lists = {
            "distinct_lists": float(len(np.unique(ranking.items, axis=0))),
            "fallback_share": float(ranking.from_fallback.mean()) if ranking.from_fallback.size else float("nan"),
        }
        if baskets is None:
            summary = averages(measured_users, self.prefix)
            lists[f"coverage_at_{ranking.items.shape[1]}"] = coverage(ranking.items, self.targets.shape[1])
        else:
            summary = averages_by_history(measured_users, baskets[counted], self.prefix, seed)
            lists |= self._together(ranking, seed)
        return summary | {self.prefix + name: value for name, value in lists.items()}

    def _together(self, ranking: Selection, seed: int) -> dict[str, float]:
        """Return coverage, Gini index, and the confusion matrix of shown and bought over all pairs of user and item."""
        k, n_items = ranking.items.shape[1], self.targets.shape[1]
        spreads = {f"{name}_at_{k}": figure for name, figure in spread(ranking.items, n_items, seed).items()}
        figures = {name: value for estimate in spreads.items() for name, value in with_bounds(*estimate).items()}
        shown, bought = float((ranking.items >= 0).sum()), float(self.targets.nnz)
        both = float(hit_matrix(ranking.items, self.targets).sum())
        pairs = float(self.targets.shape[0] * n_items - (0 if self.hide is None else self.hide.nnz))
        matrix = {"shown_bought": both, "shown_unbought": shown - both, "unshown_bought": bought - both}
        return figures | matrix | {"unshown_unbought": pairs - shown - bought + both}

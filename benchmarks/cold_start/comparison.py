"""Compares ways to make lists for the same users with the first one."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from models import catalog
from models.datasets.training_data import TrainingData
from models.evaluation.metrics.bootstrap import interval
from models.evaluation.metrics.ranking import accuracy
from models.lists.rules.compiled_rules import CompiledRules
from models.lists.scored_users import lists_of_scores
from models.primitives.vocabulary import index_of

if TYPE_CHECKING:
    from scipy import sparse

SEED: Final = 7
K: Final = 10
Scores = NDArray[np.float32]
_METRICS: Final = ("ndcg", "recall", "hit_rate")


class Comparison:
    """A table with a row per way; all ways are compared with the first one."""

    def __init__(self, title: str, targets: "sparse.csr_array", fallback: Scores, figures: dict[str, float]) -> None:
        self._targets, self._fallback, self._figures = targets, fallback, figures
        self._first: NDArray[np.float64] | None = None
        self._name = title.split(":")[0].replace(" ", "_")
        self.table = Table(title=f"{title} ({targets.shape[0]:,} households)", title_justify="left")
        for column in ("way", *(f"{name}@{K}" for name in _METRICS), "95 % of ndcg", "95 % of the difference"):
            self.table.add_column(column, justify="left" if column == "way" else "right")

    def add(self, way: str, scores: Scores) -> None:
        """Rank `scores` [m, n_items], filled up from the fallback, and measure the lists."""
        rules = CompiledRules.unrestricted(K, len(self._fallback))
        measured = accuracy(lists_of_scores(scores, rules, self._fallback).items, self._targets)
        ndcg = measured["ndcg"]
        self._first = ndcg if self._first is None else self._first
        spans = [interval(values, SEED) for values in (ndcg, ndcg - self._first)]
        means = {name: float(measured[name].mean()) for name in _METRICS}
        self._figures |= {f"{self._name}.{way}.{name}_at_{K}": mean for name, mean in means.items()}
        self._figures |= {f"{self._name}.{way}.gain_{end}": b for end, b in zip(("low", "high"), spans[1], strict=True)}
        self.table.add_row(
            way, *(f"{mean:.4f}" for mean in means.values()), *(f"{low:+.4f} to {high:+.4f}" for low, high in spans)
        )

    def add_unanswered(self, way: str) -> None:
        """Add a way that leaves all places to the fallback."""
        self.add(way, np.full(self._targets.shape, -np.inf, dtype=np.float32))


def fitted(kind: str, data: TrainingData) -> Any:
    """Fit a model with its default settings."""
    return catalog.model_type(kind).fit(data, catalog.config(kind), SEED)


def scores_of_all_users(model: Any) -> Scores:
    """Return the scores of all users of a model."""
    scores: Scores = model.scores(np.arange(len(model.users), dtype=np.int32))
    return scores


def of_items(model: Any, users: NDArray[np.int32], items: NDArray[np.str_]) -> Scores:
    """Return [m, n] the scores of some items; -inf for items that the model does not know."""
    place = index_of(model.items, items)
    scores: Scores = np.where(place >= 0, model.scores(users)[:, place], np.float32(-np.inf))
    return scores

"""Names of metrics in MLflow: ten stand alone, the others follow their group.

MLflow folds metrics with a common word before a slash into one section.
"""

from collections.abc import Mapping
from typing import Final

from models.evaluation.metrics.bootstrap import COLD, HIGH, LOW, NEW, NEWCOMER, WARM

TEN: Final = (
    "ndcg_at_10",
    "new_ndcg_at_10",
    "recall_at_10",
    "map_at_10",
    "hit_rate_at_10",
    "coverage_at_10",
    "long_tail_at_10",
    "fit_seconds",
    "score_ms",
    "artifact_mb",
)
"""The main metrics: accuracy, coverage, costs."""
_GROUPS: Final = tuple(part + kind for part in (WARM, COLD, NEWCOMER, "") for kind in (NEW, "") if part + kind)
_FURTHER: Final = ("train_", "pairs_", "learning_curve_")
_INTERVALS, _TEST = "intervals", "test"


def grouped(figures: Mapping[str, float]) -> dict[str, float]:
    """Return figures under the names that they have in MLflow."""
    return {mlflow_name(name): value for name, value in figures.items()}


def mlflow_name(name: str) -> str:
    """Return the name of a figure in MLflow: `ndcg_at_10`, `cold_new/recall_at_10`, `intervals/ndcg_at_10_low`."""
    if name in TEN:
        return name
    if name.endswith((LOW, HIGH)):
        return f"{_INTERVALS}/{name}"
    for prefix in (*_GROUPS, *_FURTHER):
        if name.startswith(prefix):
            return f"{prefix.rstrip('_')}/{name.removeprefix(prefix)}"
    return f"{_TEST}/{name}"

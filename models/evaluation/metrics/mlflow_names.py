"""Names of metrics in MLflow: each is `group/metric`. MLflow's charts have a section for each group.

The figures of `FIRST` are those that a reviewer decides on. Training records them in its run, and all others in a run
below it, because MLflow's page of a run lists all of its metrics without groups.
"""

from collections.abc import Mapping
from typing import Final

from models.evaluation.metrics.bootstrap import COLD, HIGH, LOW, NEW, NEWCOMER, REPEAT, WARM
from models.evaluation.metrics.ranking import METRIC

FIRST: Final = {
    "accuracy": (METRIC, NEW + METRIC, REPEAT + METRIC, "recall_at_10", "hit_rate_at_10"),
    "fairness": (COLD + METRIC, NEWCOMER + METRIC),
    "coverage": ("coverage_at_10",),
    "costs": ("fit_seconds", "score_ms", "artifact_mb"),
}
"""The metrics of a training run, by group."""
GATE: Final = "gate"
BASELINE_GROUP: Final = "baselines"
"""The groups that the comparison of models and the review add to a training run."""
_FIRST: Final = {name: group for group, names in FIRST.items() for name in names}
COLUMNS: Final = tuple(f"{group}/{name}" for name, group in _FIRST.items())
"""The metrics without their bounds, which models are compared by."""
_GROUPS: Final = tuple(p + kind for p in (WARM, COLD, NEWCOMER, "") for kind in (NEW, REPEAT, "") if p + kind)
_FURTHER: Final = ("train_", "pairs_", "learning_curve_")
_INTERVALS, _TEST = "intervals", "test"


def grouped(figures: Mapping[str, float]) -> dict[str, float]:
    """Return figures under the names that they have in MLflow."""
    return {mlflow_name(name): value for name, value in figures.items()}


def first_figures(figures: Mapping[str, float]) -> dict[str, float]:
    """Return the figures that a training run has, in their order, each followed by its bounds."""
    names = (name + end for name in _FIRST for end in ("", LOW, HIGH))
    return {name: figures[name] for name in names if name in figures}


def mlflow_name(name: str) -> str:
    """Return the name of a figure in MLflow: `accuracy/ndcg_at_10_low`, `cold_new/recall_at_10`, `intervals/…_low`."""
    figure = name.removesuffix(LOW).removesuffix(HIGH)
    if figure in _FIRST:
        return f"{_FIRST[figure]}/{name}"
    if figure != name:
        return f"{_INTERVALS}/{name}"
    for prefix in (*_GROUPS, *_FURTHER):
        if name.startswith(prefix):
            return f"{prefix.rstrip('_')}/{name.removeprefix(prefix)}"
    return f"{_TEST}/{name}"

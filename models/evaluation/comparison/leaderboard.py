"""Models as a ladder: the simplest first, and what each step gains over the best before it, user by user."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from models.evaluation.comparison.paired import gain
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.metrics.user_averages import NEW, with_bounds
from models.evaluation.offline import SEED, Evaluation

BASELINES: Final = ("most_popular", "segment_popular", "own_frequency", "own_and_popular")
"""What every model has to beat, in this order."""

GAIN: Final = "gain"


def leaderboard(evaluations: Mapping[str, Evaluation], metric: str = METRIC, seed: int = SEED) -> list[dict[str, Any]]:
    """One row per model: its name as `model`, its summary, and `gain` and `new_gain` in the metric with intervals.

    Baselines come first, then the others by the metric, the best last. A gain is over the best of the rows above, so
    that only what beats them all has one. The first row has none, nor has a row where it or the other lacks a figure.
    """
    steps = leaderboard_order({name: evaluation.summary[metric] for name, evaluation in evaluations.items()})
    rows: list[dict[str, Any]] = []
    for step, name in enumerate(steps):
        row: dict[str, Any] = {"model": name, **evaluations[name].summary}
        for items in ("", NEW) if step else ():
            above = {other: evaluations[other].summary.get(items + metric, np.nan) for other in steps[:step]}
            best = max(above, key=lambda other: np.nan_to_num(above[other], nan=-np.inf))
            gained = gain(evaluations[name], evaluations[best], items + metric, seed)
            row |= with_bounds(items + GAIN, gained) if gained else {}
        rows.append(row)
    return rows


def leaderboard_order(values: Mapping[str, float]) -> list[str]:
    """The names of models: baselines, then the others by value."""
    others = sorted(set(values) - set(BASELINES), key=lambda name: (values[name], name))
    return [*(name for name in BASELINES if name in values), *others]

"""Builds the leaderboard: baselines first, and the gain of each model over the best one before it."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from models.evaluation.comparison.paired import gain
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.metrics.user_averages import NEW, with_bounds
from models.evaluation.offline import SEED, Evaluation

BASELINES: Final = ("most_popular", "segment_popular", "own_frequency", "own_and_popular")
"""Models that every other model has to beat, in this order."""

GAIN: Final = "gain"

LeaderboardRow = dict[str, str | float]
"""The name as `model`, and figures by their names."""


def leaderboard(evaluations: Mapping[str, Evaluation], metric: str = METRIC, seed: int = SEED) -> list[LeaderboardRow]:
    """Return one row per model: its name as `model`, its summary, and `gain` and `new_gain` with intervals.

    Baselines come first, then the others by the metric, the best last. A gain is relative to the best row above. The
    first row has no gain, and neither has a row whose gain cannot be measured.
    """
    steps = leaderboard_order({name: evaluation.summary[metric] for name, evaluation in evaluations.items()})
    rows: list[LeaderboardRow] = []
    for step, name in enumerate(steps):
        row: LeaderboardRow = {"model": name, **evaluations[name].summary}
        for items in ("", NEW) if step else ():
            above = {other: evaluations[other].summary.get(items + metric, np.nan) for other in steps[:step]}
            best = max(above, key=lambda other: np.nan_to_num(above[other], nan=-np.inf))
            gained = gain(evaluations[name], evaluations[best], items + metric, seed)
            row |= with_bounds(items + GAIN, gained) if gained else {}
        rows.append(row)
    return rows


def leaderboard_order(values: Mapping[str, float]) -> list[str]:
    """Return the names of models in order: baselines, then the others by value."""
    others = sorted(set(values) - set(BASELINES), key=lambda name: (values[name], name))
    return [*(name for name in BASELINES if name in values), *others]

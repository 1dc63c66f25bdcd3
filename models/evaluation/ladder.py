"""Models as a ladder: the simplest first, and what each step gains over the one before, user by user."""

from collections.abc import Mapping
from typing import Any, Final

from models.evaluation.evaluate import SEED, Evaluation
from models.evaluation.paired import gain
from models.evaluation.summary import NEW, flat
from models.promotion import METRIC

BASELINES: Final = ("most_popular", "own_frequency")
"""What every model has to beat, in this order."""

GAIN: Final = "gain"


def ladder(evaluations: Mapping[str, Evaluation], metric: str = METRIC, seed: int = SEED) -> list[dict[str, Any]]:
    """One row per model: its name as `model`, its summary, and `gain` and `new_gain` in the metric with intervals.

    Baselines come first, then the others by the metric, the best last. The first row has no gains, and a row none on
    items for which it or the one before lacks a figure.
    """
    steps = in_order({name: evaluation.summary[metric] for name, evaluation in evaluations.items()})
    rows: list[dict[str, Any]] = []
    for step, name in enumerate(steps):
        row: dict[str, Any] = {"model": name, **evaluations[name].summary}
        for items in ("", NEW) if step else ():
            gained = gain(evaluations[name], evaluations[steps[step - 1]], items + metric, seed)
            row |= flat(items + GAIN, gained) if gained else {}
        rows.append(row)
    return rows


def in_order(values: Mapping[str, float]) -> list[str]:
    """The names of models: baselines, then the others by value."""
    others = sorted(set(values) - set(BASELINES), key=lambda name: (values[name], name))
    return [*(name for name in BASELINES if name in values), *others]

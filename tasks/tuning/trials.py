"""Reads trials of a study: their settings, whether they count, and why they ended."""

from collections.abc import Mapping, Sequence
from random import Random

from optuna.trial import FrozenTrial, TrialState

from models.primitives.json_types import JsonObject
from models.recommenders.search_space import Parameter, grid
from models.tuning.study_config import SearchPlan


def trial_settings(trial: FrozenTrial) -> JsonObject:
    """Return the settings of a trial, also if it is queued or its worker died before all were drawn."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def within_limits(trial: FrozenTrial) -> bool:
    """Return whether the trial was measured on all folds and kept the limits."""
    return trial.state == TrialState.COMPLETE and all(excess <= 0 for excess in trial.constraints.values())


def shuffled_grid(plan: SearchPlan, space: Mapping[str, Parameter], limit: int) -> list[JsonObject]:
    """Return the points of a grid in random order, so that part of a large grid still covers its range."""
    points = grid(space, limit) if plan.method == "grid" else []
    Random(plan.seed).shuffle(points)  # noqa: S311 - nothing secret
    return points[:limit]


def since_better(ended: Sequence[FrozenTrial]) -> int:
    """Return the number of trials since the last one that was better in any objective than all before."""
    best: list[float] = []
    since = 0
    for trial in ended:
        better = within_limits(trial) and (
            not best or any(value > known for value, known in zip(trial.values, best, strict=True))
        )
        since = 0 if better else since + 1
        if better:
            best = [max(pair) for pair in zip(trial.values, best or trial.values, strict=True)]
    return since


def describe_failure(trial: FrozenTrial) -> str:
    """Return the reason why a measured trial does not count."""
    over = [f"{name} {excess:.0%} over its limit" for name, excess in trial.constraints.items() if excess > 0]
    return ", ".join(over) if over else "a trial was not measured on all folds"

"""What trials of a study say: their settings, how good they are, and why they ended."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from models.recommenders.search_space import Parameter, grid
from models.tuning.study_config import SearchPlan


def trial_settings(trial: FrozenTrial) -> dict[str, Any]:
    """The settings of a trial, also of one that waits, or whose worker was gone before it had all of them."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def within_limits(trial: FrozenTrial) -> bool:
    """Measured on all folds, and within the limits."""
    return trial.state == TrialState.COMPLETE and all(excess <= 0 for excess in trial.constraints.values())


def shuffled_grid(plan: SearchPlan, space: Mapping[str, Parameter], most: int) -> list[dict[str, Any]]:
    """What a grid tries, in an order by chance: of one that is too large, a part says something of the whole."""
    points = grid(space, most) if plan.method == "grid" else []
    Random(plan.seed).shuffle(points)  # noqa: S311 - nothing secret
    return points[:most]


def since_better(ended: Sequence[FrozenTrial]) -> int:
    """How many trials ended since the last one that was better in anything than all before."""
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
    """Why a trial that was measured is not good."""
    over = [f"{name} {excess:.0%} over its limit" for name, excess in trial.constraints.items() if excess > 0]
    return ", ".join(over) if over else "a trial was not measured on all folds"

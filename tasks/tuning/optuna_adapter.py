"""Optuna told which settings a model's `space` speaks of, and how to choose the next."""

from collections.abc import Mapping
from typing import Final

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from models.recommenders.search_space import Choice, Integer, Parameter
from models.tuning.study_config import SearchPlan

_BY_CHANCE: Final = 8
"""Settings that TPE draws by chance before it learns from what it has seen."""


def distributions(space: Mapping[str, Parameter]) -> dict[str, BaseDistribution]:
    """The space in Optuna's words."""
    return {name: _distribution(parameter) for name, parameter in space.items()}


def _distribution(parameter: Parameter) -> BaseDistribution:
    if isinstance(parameter, Choice):
        return CategoricalDistribution(parameter.values)
    if isinstance(parameter, Integer):
        return IntDistribution(parameter.low, parameter.high, log=parameter.log)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)


def sampler(plan: SearchPlan, tried: int) -> optuna.samplers.BaseSampler:
    """What chooses the next setting after `tried` others. Its random numbers follow from seed and place alone, so that
    a search that was interrupted goes on as it would have. A grid's settings are all chosen at the start."""
    seed = (plan.seed * 100_003 + tried) % 2**32
    if plan.method == "tpe":
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=_BY_CHANCE, multivariate=True)
    return optuna.samplers.RandomSampler(seed=seed)


def pruner(plan: SearchPlan) -> optuna.pruners.BasePruner:
    """After the first, second, fourth … fold the better half goes on (Li et al. 2020), if one objective says which."""
    if plan.coverage or plan.folds == 1:
        return optuna.pruners.NopPruner()
    return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)

"""Converts a model's `space` and search plan to Optuna's distributions, sampler and pruner."""

from collections.abc import Mapping
from typing import Final

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from models.recommenders.search_space import Choice, Integer, Parameter
from models.tuning.study_config import SearchPlan

_RANDOM_TRIALS: Final = 8
"""Settings that TPE draws at random before it learns from results."""


def distributions(space: Mapping[str, Parameter]) -> dict[str, BaseDistribution]:
    """Return the space as Optuna's distributions."""
    return {name: _distribution(parameter) for name, parameter in space.items()}


def _distribution(parameter: Parameter) -> BaseDistribution:
    if isinstance(parameter, Choice):
        return CategoricalDistribution(parameter.values)
    if isinstance(parameter, Integer):
        return IntDistribution(parameter.low, parameter.high, log=parameter.log)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)


def sampler(plan: SearchPlan, tried: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of the next setting after `tried` others.

    Its random numbers depend only on the seed and `tried`, so an interrupted search continues as if it had not been.
    The settings of a grid are all queued at the start.
    """
    seed = (plan.seed * 100_003 + tried) % 2**32
    if plan.method == "tpe":
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=_RANDOM_TRIALS, multivariate=True)
    return optuna.samplers.RandomSampler(seed=seed)


def pruner(plan: SearchPlan) -> optuna.pruners.BasePruner:
    """Return the pruner. With one objective the better half goes on after folds 1, 2, 4, … (Li et al. 2020)."""
    if plan.coverage or plan.folds == 1:
        return optuna.pruners.NopPruner()
    return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)

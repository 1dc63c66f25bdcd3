"""Optuna asked for the settings that a model's `space` speaks of."""

from collections.abc import Mapping
from typing import Any

import optuna

from models.space import Choice, Integer, Parameter


def suggest(trial: optuna.Trial, space: Mapping[str, Parameter]) -> dict[str, Any]:
    """A value for each setting of the space, by name."""
    return {name: _value(trial, name, parameter) for name, parameter in space.items()}


def _value(trial: optuna.Trial, name: str, parameter: Parameter) -> Any:
    if isinstance(parameter, Choice):
        return trial.suggest_categorical(name, parameter.values)
    if isinstance(parameter, Integer):
        return trial.suggest_int(name, parameter.low, parameter.high, log=parameter.log)
    return trial.suggest_float(name, parameter.low, parameter.high, log=parameter.log)

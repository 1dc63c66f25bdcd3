"""The values that a search may try for a model's settings, independent of the library that searches."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np

_FINEST: Final = 9
"""Values per number in the finest grid."""


@dataclass(frozen=True)
class Float:
    """A real number in [low, high]; `log` if it is searched by order of magnitude."""

    low: float
    high: float
    log: bool = False

    def within(self, value: float) -> float:
        """Return the nearest value in the range."""
        return min(max(value, self.low), self.high)

    def grid(self, points: int) -> list[float]:
        """Return that many values, evenly spaced from end to end, by their logarithms if `log`."""
        return [float(value) for value in _spaced(self.low, self.high, self.log, points)]


@dataclass(frozen=True)
class Integer(Float):
    """A whole number in [low, high], both ends included."""

    low: int
    high: int

    def grid(self, points: int) -> list[float]:
        """Return at most that many values from end to end."""
        return sorted({round(value) for value in _spaced(self.low, self.high, self.log, points)})


@dataclass(frozen=True)
class Choice:
    """One of the listed values."""

    values: tuple[str | int | float | bool, ...]

    def within(self, value: Any) -> Any:
        """Return the value if it is listed, else None."""
        return value if value in self.values else None

    def grid(self, _points: int) -> list[str | int | float | bool]:
        """Return all values."""
        return list(self.values)


Parameter = Float | Integer | Choice


def within(space: Mapping[str, Parameter], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the space, moved to the nearest allowed value; unlisted choices are left out."""
    nearest = {name: parameter.within(settings[name]) for name, parameter in space.items() if name in settings}
    return {name: value for name, value in nearest.items() if value is not None}


def grid(space: Mapping[str, Parameter], most: int) -> list[dict[str, Any]]:
    """Return every combination of evenly spaced values: the finest grid of at most `most`, else the ends only."""
    axes = [[parameter.grid(points) for parameter in space.values()] for points in range(_FINEST, 1, -1)]
    fitting = (values for values in axes if np.prod([len(axis) for axis in values], dtype=float) <= most)
    return [dict(zip(space, values, strict=True)) for values in product(*next(fitting, axes[-1]))]


def _spaced(low: float, high: float, log: bool, points: int) -> Any:
    values = np.geomspace(low, high, points) if log else np.linspace(low, high, points)
    return np.clip(values, low, high)  # rounding may step over an end

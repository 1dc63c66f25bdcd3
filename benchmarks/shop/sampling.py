"""Draws in proportion to weights, many at once."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


def running(weights: ArrayLike) -> Array:
    """Running sums with a zero before them: what is drawn from."""
    return np.concatenate([[0.0], np.cumsum(weights, dtype="float64")])


def drawn(random: np.random.Generator, sums: Array, number: int) -> Array:
    """So many places among the weights, with replacement. Never one of weight zero."""
    everything = np.zeros(number, dtype="int64")
    return drawn_between(random, sums, everything, everything + len(sums) - 1)


def drawn_between(random: np.random.Generator, sums: Array, low: Array, high: Array) -> Array:
    """One place of each range from `low` up to, not including, `high`; from all where a range weighs nothing."""
    floor, ceiling = sums[low], sums[high]
    empty = ceiling <= floor
    floor, ceiling = np.where(empty, 0.0, floor), np.where(empty, sums[-1], ceiling)
    target = floor + random.random(len(low)) * (ceiling - floor)
    # Rounding may reach the end of the range, where the next one begins.
    places: Array = np.searchsorted(sums, np.minimum(target, np.nextafter(ceiling, 0.0)), side="right") - 1
    return places


def chance(random: np.random.Generator, probability: float | Array, number: int) -> Array:
    """Whether each of so many things happens."""
    return random.random(number) < probability

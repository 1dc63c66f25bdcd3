"""Draws many samples in proportion to weights."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


def running(weights: ArrayLike) -> Array:
    """Return running sums with a leading zero, for drawing."""
    return np.concatenate([[0.0], np.cumsum(weights, dtype="float64")])


def drawn(random: np.random.Generator, sums: Array, number: int) -> Array:
    """Draw so many positions with replacement, never one of weight zero."""
    everything = np.zeros(number, dtype="int64")
    return drawn_between(random, sums, everything, everything + len(sums) - 1)


def drawn_between(random: np.random.Generator, sums: Array, low: Array, high: Array) -> Array:
    """Draw one position of each range [`low`, `high`); of all positions if a range has no weight."""
    floor, ceiling = sums[low], sums[high]
    empty = ceiling <= floor
    floor, ceiling = np.where(empty, 0.0, floor), np.where(empty, sums[-1], ceiling)
    target = floor + random.random(len(low)) * (ceiling - floor)
    # Rounding may reach the end of the range, where the next one begins.
    places: Array = np.searchsorted(sums, np.minimum(target, np.nextafter(ceiling, 0.0)), side="right") - 1
    return places


def chance(random: np.random.Generator, probability: float | Array, number: int) -> Array:
    """Return whether each of so many events happens."""
    return random.random(number) < probability

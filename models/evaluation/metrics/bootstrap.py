"""How sure a figure is: users are drawn anew with replacement, for others like them might have come."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

SAMPLES: Final = 2000
FEWER_SAMPLES: Final = 200
"""For figures that are no means over users, and take long to work out again."""
LEVEL: Final = 0.95

_EDGES: Final = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
_BLOCK: Final = 4_000_000

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""From how often each user counts [s, n_users] to the figure of each of s samples."""


class Estimate(NamedTuple):
    """A figure and its interval."""

    value: float
    low: float
    high: float


def draws(n_users: int, seed: int, samples: int = SAMPLES) -> Iterator[Floats]:
    """How often each user was drawn: blocks of [s, n_users], `samples` rows in all, each with the sum n_users."""
    random, rows = np.random.default_rng(seed), max(1, _BLOCK // n_users)
    for start in range(0, samples, rows):
        drawn = random.integers(n_users, size=(min(rows, samples - start), n_users))
        drawn += np.arange(len(drawn))[:, None] * n_users
        yield np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(np.float64)


def intervals(values: Floats, seed: int) -> Floats:
    """[2, m] percentile intervals (Efron 1979) of the means of the columns of `values` [n_users, m].

    The mean is over the users who have a figure there (no NaN); NaN where nobody has. All columns see the same draws.
    """
    known = ~np.isnan(values)
    return intervals_of_ratios(np.where(known, values, 0.0), known.astype(np.float64), seed)


def estimates(columns: Mapping[str, Floats], seed: int) -> dict[str, Estimate]:
    """The mean of each column [n_users] over users who have a figure there, and its interval, all by the same draws."""
    if not columns:
        return {}
    values = np.column_stack(list(columns.values()))
    rows = zip(np.nanmean(values, axis=0).tolist(), *intervals(values, seed).tolist(), strict=True)
    return {name: Estimate(*row) for name, row in zip(columns, rows, strict=True)}


def intervals_of_ratios(above: Floats, below: Floats, seed: int) -> Floats:
    """[2, m] percentile intervals of the sums over users of `above` [n_users, m] by those of `below`."""
    if not len(above):
        return np.full((2, above.shape[1]), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of columns in which nobody has a figure
        ratios = np.concatenate([(drawn @ above) / (drawn @ below) for drawn in draws(len(above), seed)])
        bounds: Floats = np.nanquantile(ratios, _EDGES, axis=0)
    return bounds


def interval(values: Floats, seed: int) -> tuple[float, float]:
    """The interval of the mean of one figure per user [n_users]."""
    low, high = intervals(values[:, None], seed)[:, 0]
    return float(low), float(high)


def estimate(statistic: Statistic, n_users: int, seed: int, samples: int = FEWER_SAMPLES) -> Estimate:
    """A figure that is no mean over users, with the spread of its samples laid around it.

    A sample shows some users' lists twice and others not at all, which moves figures such as coverage; only how far
    samples lie from each other counts, and so their mean is moved onto the figure.
    """
    if not n_users:
        return Estimate(np.nan, np.nan, np.nan)
    (value,) = statistic(np.ones((1, n_users)))
    with np.errstate(invalid="ignore", divide="ignore"):  # of samples in which nothing was bought
        sampled = np.concatenate([statistic(drawn) for drawn in draws(n_users, seed, samples)])
    low, high = np.nanquantile(sampled - np.nanmean(sampled), _EDGES)
    return Estimate(float(value), float(value + min(low, 0)), float(value + max(high, 0)))

"""Bootstrap intervals: users are resampled with replacement."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

SAMPLES: Final = 2000
FEWER_SAMPLES: Final = 200
"""Samples for figures that are no means over users, and take long to compute."""
LEVEL: Final = 0.95

_BLOCK: Final = 4_000_000

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""From the weight of each user [s, n_users] to the figure of each of s samples."""


class Estimate(NamedTuple):
    """A figure and its interval."""

    value: float
    low: float
    high: float


def draws(n_users: int, seed: int, samples: int = SAMPLES) -> Iterator[Floats]:
    """Yield the weight of each user in blocks [s, n_users], `samples` rows in all; each row sums to n_users."""
    random, rows = np.random.default_rng(seed), max(1, _BLOCK // n_users)
    for start in range(0, samples, rows):
        drawn = random.integers(n_users, size=(min(rows, samples - start), n_users))
        drawn += np.arange(len(drawn))[:, None] * n_users
        yield np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(np.float64)


def edges(comparisons: int = 1) -> tuple[float, float]:
    """Return the quantiles of an interval which, with those of other comparisons, holds with `LEVEL` (Bonferroni)."""
    outside = (1 - LEVEL) / 2 / comparisons
    return outside, 1 - outside


def intervals(values: Floats, seed: int, comparisons: int = 1) -> Floats:
    """Return [2, m] percentile intervals (Efron 1979) of the column means of `values` [n_users, m].

    The mean is over users with a figure (no NaN), and NaN without any. All columns use the same samples.
    """
    known = ~np.isnan(values)
    return intervals_of_ratios(np.where(known, values, 0.0), known.astype(np.float64), seed, comparisons)


def estimates(columns: Mapping[str, Floats], seed: int, comparisons: int = 1) -> dict[str, Estimate]:
    """Return the mean of each column [n_users] over users with a figure, and its interval, all by the same samples.

    With several `comparisons`, the intervals are wider: all of them hold together with `LEVEL`.
    """
    if not columns:
        return {}
    values = np.column_stack(list(columns.values()))
    rows = zip(np.nanmean(values, axis=0).tolist(), *intervals(values, seed, comparisons).tolist(), strict=True)
    return {name: Estimate(*row) for name, row in zip(columns, rows, strict=True)}


def intervals_of_ratios(above: Floats, below: Floats, seed: int, comparisons: int = 1) -> Floats:
    """Return [2, m] percentile intervals of the sum of `above` [n_users, m] over users divided by that of `below`."""
    if not len(above):
        return np.full((2, above.shape[1]), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of columns without figures
        ratios = np.concatenate([(drawn @ above) / (drawn @ below) for drawn in draws(len(above), seed)])
        bounds: Floats = np.nanquantile(ratios, edges(comparisons), axis=0)
    return bounds


def mean_of(values: Floats, seed: int) -> Estimate:
    """Return the mean of one figure per user [n_users], and its interval."""
    return Estimate(float(values.mean()), *interval(values, seed))


def interval(values: Floats, seed: int) -> tuple[float, float]:
    """Return the interval of the mean of one figure per user [n_users]."""
    low, high = intervals(values[:, None], seed)[:, 0]
    return float(low), float(high)


def estimate(statistic: Statistic, n_users: int, seed: int, samples: int = FEWER_SAMPLES) -> Estimate:
    """Return a figure that is no mean over users, with an interval.

    A sample repeats some users' lists and lacks others, which shifts figures such as coverage. So only the spread of
    the samples is used: their mean is moved onto the figure.
    """
    if not n_users:
        return Estimate(np.nan, np.nan, np.nan)
    (value,) = statistic(np.ones((1, n_users)))
    with np.errstate(invalid="ignore", divide="ignore"):  # of samples without purchases
        sampled = np.concatenate([statistic(drawn) for drawn in draws(n_users, seed, samples)])
    low, high = np.nanquantile(sampled - np.nanmean(sampled), edges())
    return Estimate(float(value), float(value + min(low, 0)), float(value + max(high, 0)))


COLD_BASKETS: Final = 5
"""Users with fewer baskets in their history are cold, the others warm."""
WARM, COLD, NEWCOMER = "warm_", "cold_", "newcomer_"
"""Prefixes of metrics of a part of the users; newcomers have no history."""
NEW: Final = "new_"
"""Prefix of metrics on items new to the user; it follows the prefix of the users."""
REPEAT: Final = "repeat_"
"""Prefix of metrics on items that the user had bought, in the same place."""
ITEM_KINDS: Final = {"": "", NEW: " on new items", REPEAT: " on repeat purchases"}
"""By the prefix of their metrics, the items that models are compared on, as the end of a sentence."""
LOW, HIGH = "_low", "_high"
"""Suffixes of the bounds of a metric's interval."""

Figures = dict[str, NDArray[Any]]


def with_bounds(figures: Mapping[str, Estimate]) -> dict[str, float]:
    """Return figures and the bounds of their intervals, by name."""
    bounds = ("", LOW, HIGH)
    return {
        name + bound: value for name, figure in figures.items() for bound, value in zip(bounds, figure, strict=True)
    }


def averages(metrics: Mapping[str, NDArray[np.float64]], prefix: str = "") -> dict[str, float]:
    """Return the mean of each metric over the users who have it (no NaN), and the number of `users`."""
    values = np.column_stack(list(metrics.values()))
    means = {prefix + name: mean for name, mean in zip(metrics, _means(values), strict=True)}
    return means | {f"{prefix}users": float(len(values))}


def averages_by_history(
    metrics: Mapping[str, NDArray[np.float64]], baskets: NDArray[np.int64], kind: str, seed: int
) -> dict[str, float]:
    """Return averages with intervals over all, warm and cold users, without empty parts.

    `baskets` [n_users] counts the baskets in the history; `kind` is the prefix of the items.
    """
    parts = {"": baskets >= 0, WARM: baskets >= COLD_BASKETS, COLD: baskets < COLD_BASKETS}
    summary: dict[str, float] = {}
    for part, mask in parts.items():
        if mask.any() or not part:
            part_metrics = {name: values[mask] for name, values in metrics.items()}
            summary |= averages(part_metrics, part + kind)
            bounds = intervals(np.column_stack(list(part_metrics.values())), seed)
            rows = zip(metrics, bounds.T.tolist(), strict=True)
            names = ((part + kind + name, ends) for name, ends in rows)
            summary |= with_bounds({name: Estimate(summary[name], *ends) for name, ends in names})
    return summary


def split_prefixes(summary: Mapping[str, float]) -> dict[tuple[str, str], dict[str, float]]:
    """Return a summary by its prefixes of users and items."""
    by_prefix: dict[tuple[str, str], dict[str, float]] = {}
    for name, value in summary.items():
        part = next((prefix for prefix in (WARM, COLD, NEWCOMER) if name.startswith(prefix)), "")
        kind = next((prefix for prefix in (NEW, REPEAT) if name.removeprefix(part).startswith(prefix)), "")
        by_prefix.setdefault((part, kind), {})[name.removeprefix(part + kind)] = value
    return by_prefix


def _means(values: NDArray[np.float64]) -> list[float]:
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        means: list[float] = (np.where(known, values, 0).sum(axis=0) / known.sum(axis=0)).tolist()
    return means

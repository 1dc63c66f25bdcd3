"""Averages metrics with intervals: over all users, users with much history and users with little."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.evaluation.metrics.bootstrap import Estimate, intervals

COLD_BASKETS: Final = 5
"""Users with fewer baskets in their history are cold, the others warm."""
WARM, COLD, NEWCOMER = "warm_", "cold_", "newcomer_"
"""Prefixes of metrics of a part of the users; newcomers have no history."""
NEW: Final = "new_"
"""Prefix of metrics on items new to the user; it follows the prefix of the users."""
LOW, HIGH = "_low", "_high"
"""Suffixes of the bounds of a metric's interval."""

Figures = dict[str, NDArray[Any]]


def with_bounds(name: str, figure: Estimate) -> dict[str, float]:
    """Return a figure and the bounds of its interval, by name."""
    return {name: figure.value, name + LOW: figure.low, name + HIGH: figure.high}


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
            for name, (low, high) in zip(metrics, bounds.T.tolist(), strict=True):
                summary |= with_bounds(part + kind + name, Estimate(summary[part + kind + name], low, high))
    return summary


def split_prefixes(summary: Mapping[str, float]) -> dict[tuple[str, str], dict[str, float]]:
    """Return a summary by its prefixes of users and items."""
    by_prefix: dict[tuple[str, str], dict[str, float]] = {}
    for name, value in summary.items():
        part = next((prefix for prefix in (WARM, COLD, NEWCOMER) if name.startswith(prefix)), "")
        kind = NEW if name.removeprefix(part).startswith(NEW) else ""
        by_prefix.setdefault((part, kind), {})[name.removeprefix(part + kind)] = value
    return by_prefix


def _means(values: NDArray[np.float64]) -> list[float]:
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        means: list[float] = (np.where(known, values, 0).sum(axis=0) / known.sum(axis=0)).tolist()
    return means

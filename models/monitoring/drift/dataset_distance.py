"""Measures how far users have moved from one data set to another."""

from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.monitoring.drift.signals import signal_table

STATIONARY_FEATURES: Final = (
    "recency_days",
    "basket_value",
    "events_per_session",
    "engagement",
    "evening_share",
    "weekend_share",
    "top_category_share",
    "category_entropy",
)
"""User features that do not change with the length of the history."""
_BINS: Final = 10


def shift(then: pa.Table, now: pa.Table) -> float:
    """Return the mean distance of the `STATIONARY_FEATURES`: 0 for equal distributions, 1 for disjoint ones."""
    return float(np.mean([distance(_values(then, name), _values(now, name)) for name in STATIONARY_FEATURES]))


def distance(then: NDArray[np.float64], now: NDArray[np.float64]) -> float:
    """Return the distance over tenths of the earlier values; NaN is a bin of its own."""
    known = then[~np.isnan(then)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:-1])) if len(known) else np.empty(0)
    return float(signal_table.distance(_counts(now, edges), _counts(then, edges)))


def _counts(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    bins = np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values, side="right"))
    return np.bincount(bins, minlength=len(edges) + 2).astype(np.float64)


def _values(table: pa.Table, name: str) -> NDArray[np.float64]:
    return np.asarray(table[name].cast("float64").to_numpy(), dtype=np.float64)

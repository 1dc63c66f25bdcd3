"""Defines the metrics of experiments as ratios of sums over people."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.experiments.estimates import Moments

Sums = Mapping[str, NDArray[np.float64]]
"""Values of people ([n] each) by name, and those before the experiment as `<name>_before`."""
BEFORE: Final = "_before"
COUNTED: Final = ("impressions", "clicks", "added", "orders", "revenue", "days")
"""What is counted of each person, in the experiment and before."""
METRICS: Final = {
    "click_through": ("clicks", "impressions"),
    "conversion": ("bought", ""),
    "order_value": ("revenue", "orders"),
    "revenue_per_user": ("revenue", ""),
    "repeat_visits": ("again", ""),
}
"""The numerator and the denominator of each; without one it is a mean of people."""
WORDS: Final = {
    "click_through": "clicks per impression",
    "conversion": "people who bought",
    "order_value": "value of an order",
    "revenue_per_user": "revenue per person",
    "repeat_visits": "further days with a visit",
}


def with_derived(sums: Sums) -> dict[str, NDArray[np.float64]]:
    """Return the sums with whether people bought, and on how many days they came again."""
    derived = dict(sums)
    for when in ("", BEFORE):
        derived[f"bought{when}"] = (sums[f"orders{when}"] > 0).astype(np.float64)
        derived[f"again{when}"] = np.maximum(sums[f"days{when}"] - 1, 0.0)
    return derived


def moments(sums: Sums, metric: str) -> Moments:
    """Return the moments of a metric from derived sums of at least two people."""
    top, bottom = METRICS[metric]
    parts: list[Any] = [sums[f"{name}{when}"] if name else None for when in ("", BEFORE) for name in (top, bottom)]
    return Moments.of(*parts)

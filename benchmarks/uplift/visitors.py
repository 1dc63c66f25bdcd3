"""Makes up visitors of a shop whose days, clicks, orders and amounts are known. They know nothing of our models."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.experiments.metrics import BEFORE, with_derived

Floats = NDArray[np.float64]
_CLICK: Final = 0.08
_ORDERS_PER_CLICK: Final = 0.25
_SPREAD: Final = 0.8
"""Of the logarithm of what an order costs, within a user and between users."""


@dataclass(frozen=True)
class Visitors:
    """What users did by day ([users, days]), and in as many days before ([users])."""

    days: Floats
    """The visits of each day."""
    impressions: Floats
    clicks: Floats
    orders: Floats
    revenue: Floats
    before: dict[str, Floats]

    def sums(self, first: int = 0) -> dict[str, Floats]:
        """Return the sums of users who came in the first days (0: in all), [n] each, with those before."""
        names = ("days", "impressions", "clicks", "orders", "revenue")
        now = {name: getattr(self, name)[:, : first or None].sum(axis=1) for name in names}
        came = now["days"] > 0
        both = with_derived(now | {f"{name}{BEFORE}": values for name, values in self.before.items()})
        return {name: values[came] for name, values in both.items()}


def visitors(users: int, days: int, random: np.random.Generator, **lifts: float) -> Visitors:
    """Return users who come on some days; `lifts` (clicks, orders, amount, visits) are relative changes of rates."""
    activity = random.gamma(1.5, 0.15, users)
    taste = random.beta(40 * _CLICK, 40 * (1 - _CLICK), users)
    wealth = random.normal(0, _SPREAD, users)
    usual = _acts(activity, taste, wealth, days, random, {})
    before = {name: part.sum(axis=1) for name, part in usual.items()}
    return Visitors(before=before, **_acts(activity, taste, wealth, days, random, lifts))


def _acts(
    activity: Floats, taste: Floats, wealth: Floats, days: int, random: np.random.Generator, lifts: dict[str, float]
) -> dict[str, Floats]:
    shape = (len(activity), days)
    visits = random.poisson(activity[:, None] * (1 + lifts.get("visits", 0.0)), shape)
    shown = visits * 6
    clicks = random.binomial(shown, np.minimum(taste * (1 + lifts.get("clicks", 0.0)), 1)[:, None])
    orders = random.binomial(clicks, min(_ORDERS_PER_CLICK * (1 + lifts.get("orders", 0.0)), 1))
    cost = 30 * np.exp(wealth[:, None] + random.normal(0, _SPREAD, shape)) * (1 + lifts.get("amount", 0.0))
    acts = {"days": visits, "impressions": shown, "clicks": clicks, "orders": orders, "revenue": orders * cost}
    return {name: values.astype(np.float64) for name, values in acts.items()}

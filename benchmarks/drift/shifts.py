"""Shifts of a shop's days, in grades, by name."""

from typing import Final

import numpy as np

from benchmarks.drift.streams import MOST_COPIES, Day, Shift
from benchmarks.shop.event_rows import PURCHASE
from models.monitoring.drift.signals.event_columns import MISSING_CODE

WINDOWS: Final = 12
"""Windows within which a shift has to be found."""


def reshuffled(share: float) -> Shift:
    """Let part of the items trade places, so that any item may be a best seller."""

    def shift(day: Day, once: np.random.Generator) -> None:
        moved = np.flatnonzero(once.random(day.items) < share)
        place = np.arange(day.items)
        place[moved] = once.permutation(moved)
        now = place[day.rows["item"]]
        day.rows["value"] *= day.prices[now] / day.prices[day.rows["item"]]
        day.gap = np.where(now == day.rows["item"], day.gap, MISSING_CODE)
        day.rows["item"] = now

    return shift


def new_items(share: float) -> Shift:
    """Replace part of the items of interactions by new items."""

    def shift(day: Day, once: np.random.Generator) -> None:
        replaced = once.random(day.items) < share
        now = replaced[day.rows["item"]]
        day.rows["item"] += now * day.items
        day.item_since = np.where(now, day.began, day.item_since)
        day.gap = np.where(now, MISSING_CODE, day.gap)

    return shift


def cold_users(times: float) -> Shift:
    """Add new users, as a multiple of the users."""

    def shift(day: Day, _once: np.random.Generator) -> None:
        new = np.unique(day.rows["user"][day.user_since >= day.known_until])
        day.often[new] = np.minimum(day.random.poisson(times, len(new)), MOST_COPIES)

    return shift


def fewer_clicks(share: float) -> Shift:
    """Remove part of the clicks on lists, with their consequences."""

    def shift(day: Day, _once: np.random.Generator) -> None:
        led = (day.rows["shown"] >= 0) & (day.rows["kind"] > 0)
        number = day.rows["shown"] * day.items + day.rows["item"]
        clicks = np.unique(number[led])
        lost = clicks[day.random.random(len(clicks)) < share]
        day.select_rows(~(led & np.isin(number, lost)))

    return shift


def nulls(share: float) -> Shift:
    """Remove the value of part of the purchases."""

    def shift(day: Day, _once: np.random.Generator) -> None:
        empty = (day.rows["kind"] == PURCHASE) & (day.random.random(len(day.rows)) < share)
        day.rows["value"][empty] = np.nan

    return shift


def other_unit(factor: float) -> Shift:
    """Change the unit of money."""

    def shift(day: Day, _once: np.random.Generator) -> None:
        day.rows["value"] *= factor

    return shift


SHIFTS: Final = {
    "popularity_reshuffled_30": reshuffled(0.3),
    "popularity_reshuffled_100": reshuffled(1.0),
    "new_items_10": new_items(0.1),
    "new_items_20": new_items(0.2),
    "new_items_40": new_items(0.4),
    "cold_users_doubled": cold_users(2.0),
    "clicks_minus_10": fewer_clicks(0.1),
    "clicks_minus_20": fewer_clicks(0.2),
    "nulls_1": nulls(0.01),
    "nulls_5": nulls(0.05),
    "unit_times_100": other_unit(100.0),
}

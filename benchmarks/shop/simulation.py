"""Simulates a shop period by period: all events, in order of time."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from benchmarks.shop.calendar import Period, periods, shares
from benchmarks.shop.impressions import browsing
from benchmarks.shop.items import stocked
from benchmarks.shop.sampling import Array
from benchmarks.shop.users import populated
from benchmarks.shop.visits import Store, World, trails

_PEOPLE, _ITEMS, _EVENTS, _TABLES = range(4)
"""Uses of random numbers; each has a stream of its own, and events have one per period."""
MONTHS: Final = 24


class Plan(NamedTuple):
    """Amounts over all periods."""

    purchases: int
    """Purchases, besides those that follow a click."""
    trails: float = 0.0
    """Share of the purchases with a recorded view and cart before them."""
    views: int = 0
    """Views without a purchase."""
    sessions: int = 0
    """Visits with recommended lists."""


class Happened(NamedTuple):
    """One period."""

    period: Period
    rows: Array
    """Events (`event_rows.EVENT`) by time."""
    lists: int
    """Number of recommended lists."""


def world(users: int, items: int, seed: int, months: int = MONTHS) -> World:
    """A shop with so many users and items over so many months from January 2023."""
    known = periods(months)
    people = populated(np.random.default_rng([seed, _PEOPLE]), users, len(known))
    return World(people, stocked(np.random.default_rng([seed, _ITEMS]), items, len(known)), known)


def simulate(shop: World, plan: Plan, seed: int) -> Iterator[Happened]:
    """Yield every period of the shop; the same for the same world, plan and seed."""
    store, lists = Store(shop), 0
    counts = [shares(shop.periods, number) for number in (plan.purchases, plan.views, plan.sessions)]
    for period, purchases, views, sessions in zip(shop.periods, *counts, strict=True):
        random = np.random.default_rng([seed, _EVENTS, period.number])
        happened = _period(store, random, period, Plan(purchases, plan.trails, views, sessions), lists)
        lists += happened.lists
        yield happened


def _period(store: Store, random: np.random.Generator, period: Period, plan: Plan, lists: int) -> Happened:
    bought = store.purchases(random, period, plan.purchases)
    parts = [bought, trails(random, bought, plan.trails), store.views(random, period, plan.views)]
    shown, number = browsing(store, random, period, plan.sessions, lists)
    rows = np.concatenate([*parts, shown])
    rows["at"] = np.clip(rows["at"], period.begin, period.end - 1)
    return Happened(period, rows[np.argsort(rows["at"], kind="stable")], number)


def delays(seed: int, period: Period) -> np.random.Generator:
    """Return the random numbers for the delay of a period's events."""
    return np.random.default_rng([seed, _TABLES, period.number])

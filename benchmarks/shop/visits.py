"""Simulates visits: the time, the viewed and bought items, and repeated purchases."""

from typing import Final, NamedTuple

import numpy as np

from benchmarks.shop.calendar import Period, moments, season
from benchmarks.shop.categories import STYLES
from benchmarks.shop.event_rows import CART, NONE, PURCHASE, VIEW, blank, derived
from benchmarks.shop.items import PEAKS, Catalogue
from benchmarks.shop.sampling import Array, chance, drawn, drawn_between, running
from benchmarks.shop.users import People

_BASKET: Final = 0.42
"""A basket is the last item with this probability: 2.4 items on average."""
_IN_STYLE: Final = 0.5
_OF_FAVOURITES: Final = 0.7
"""Shares of new items: of a favourite category and the style, and of at least the category; the others are random."""
_REMEMBERED: Final = 4
_ABANDONED_CART: Final = 0.15
_SALE: Final = 0.7


class World(NamedTuple):
    """Everything that does not change over time."""

    people: People
    catalogue: Catalogue
    periods: list[Period]


class Store:
    """Simulates the visits of one period after the other; it remembers some earlier purchases of each user."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sessions = 0
        """Number of baskets so far."""
        self._bought = np.full((len(world.people), _REMEMBERED), NONE, dtype="int32")

    def purchases(self, random: np.random.Generator, period: Period, number: int) -> Array:
        """Return so many rows of baskets; a basket has one time."""
        rows = self._visits(random, period, number, PURCHASE)
        # Each takes the place of any: later rows win, so the memory leans to what was bought last.
        self._bought[rows["user"], random.integers(_REMEMBERED, size=number)] = rows["item"]
        return rows

    def views(self, random: np.random.Generator, period: Period, number: int) -> Array:
        """Return so many views without a purchase, and the carts in which some of these items stay."""
        rows = self._visits(random, period, number, VIEW)
        rows["at"] += random.integers(600, size=number)
        carted = rows[chance(random, _ABANDONED_CART, number)]
        carts = derived(carted, CART, random.integers(5, 120, size=len(carted)))
        return np.concatenate([derived(rows, VIEW, np.zeros(number)), carts])

    def visitors(
        self, random: np.random.Generator, period: Period, number: int, also: Array | None = None
    ) -> tuple[Array, Array, Array]:
        """Return user, time and session of so many visits, including those of the users `also`."""
        people = self.world.people
        users = drawn(random, running(people.present(period.number)), number)
        if also is not None:
            users[: len(also)] = also[:number]
        at = moments(random, period, people.weekend[users], people.hour[users])
        sessions = np.arange(self.sessions, self.sessions + number)
        self.sessions += number
        return users, at, sessions

    def worth(self, random: np.random.Generator, period: Period, items: Array) -> tuple[Array, Array]:
        """Return quantity and total price; in a sale, older items cost less."""
        catalogue = self.world.catalogue
        luck = random.random(len(items))
        quantity = 1.0 + (luck > 0.88) + (luck > 0.97)
        reduced = period.sale & (catalogue.fade[items] > 0) & (catalogue.arrival[items] < period.number - 4)
        return quantity, np.round(catalogue.price[items] * quantity * np.where(reduced, _SALE, 1.0), 2)

    def _visits(self, random: np.random.Generator, period: Period, number: int, kind: int) -> Array:
        sizes = random.geometric(_BASKET, size=number)
        ends = np.cumsum(sizes)
        baskets = int(np.searchsorted(ends, number)) + 1 if number else 0
        visit = np.repeat(np.arange(baskets), sizes[:baskets])[:number]
        first = np.flatnonzero(self.world.people.debut == period.number) if kind == PURCHASE else None
        users, at, sessions = self.visitors(random, period, baskets, first)
        rows = blank(kind, number)
        rows["user"], rows["at"], rows["session"] = users[visit], at[visit], sessions[visit]
        rows["item"] = self._items(random, period, rows["user"])
        rows["quantity"], rows["value"] = self.worth(random, period, rows["item"])
        return rows

    def _items(self, random: np.random.Generator, period: Period, users: Array) -> Array:
        """Draw an item for each: one bought before that is still sold, or one to the user's taste."""
        demand = self.world.catalogue.demand(period)
        drawn = self._new(random, period, users, demand)
        old = self._bought[users, random.integers(_REMEMBERED, size=len(users))]
        again = chance(random, self.world.people.loyalty[users], len(users)) & (old != NONE) & (demand[old] > 0)
        return np.where(again, old, drawn)

    def _new(self, random: np.random.Generator, period: Period, users: Array, demand: Array) -> Array:
        catalogue, people = self.world.catalogue, self.world.people
        favourites = people.favourites[users]
        inviting = np.cumsum(season(period, PEAKS)[favourites], axis=1)
        place = (random.random(len(users))[:, None] * inviting[:, -1:] >= inviting[:, :-1]).sum(axis=1)
        category = favourites[np.arange(len(users)), place].astype("int64")
        cell = category * STYLES + people.style[users]
        mood = random.random(len(users))
        cases = [mood < _IN_STYLE, mood < _OF_FAVOURITES]
        low = np.select(cases, [catalogue.cells[cell], catalogue.categories[category]], 0)
        high = np.select(cases, [catalogue.cells[cell + 1], catalogue.categories[category + 1]], len(catalogue))
        return drawn_between(random, running(demand), low, high)


def trails(random: np.random.Generator, bought: Array, share: float) -> Array:
    """Return the view and the cart before this share of the purchases."""
    some = bought[chance(random, share, len(bought))]
    carts = derived(some, CART, -random.integers(5, 90, size=len(some)))
    views = derived(some, VIEW, -random.integers(120, 1500, size=len(some)))
    return np.concatenate([views, carts])

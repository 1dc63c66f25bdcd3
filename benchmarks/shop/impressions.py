"""Simulates recommended lists of a shop, and clicks by a known law."""

from typing import Final, NamedTuple

import numpy as np

from benchmarks.shop.calendar import Period
from benchmarks.shop.event_rows import CART, CLICK, IMPRESSION, PLACEMENTS, PURCHASE, VIEW, blank, derived
from benchmarks.shop.items import Catalogue
from benchmarks.shop.sampling import Array, chance, drawn_between, running
from benchmarks.shop.users import People
from benchmarks.shop.visits import Store

LENGTH: Final = 8
"""Items on a list."""
LISTS: Final = 2
"""Mean number of lists per session."""
CART_RATE: Final = 0.3
BUY_RATE: Final = 0.5
"""Share of clicks with a cart, and share of carts with a purchase."""


class Law(NamedTuple):
    """The coefficients of the logistic function of clicks."""

    base: float = -2.6
    favourite: float = 1.9
    """Effect of a favourite category."""
    style: float = 1.0
    """Effect of the user's style."""
    appeal: float = 0.35
    """Effect of one standard deviation of popularity."""
    position: float = 0.7
    """Effect of the logarithm of the position, from 1."""

    def probability(self, people: People, catalogue: Catalogue, users: Array, items: Array, position: Array) -> Array:
        """Return the click probability of each user, item and position."""
        favourite = (people.favourites[users] == catalogue.category[items][:, None]).any(axis=1)
        style = people.style[users] == catalogue.style[items]
        liking = self.favourite * favourite + self.style * style + self.appeal * catalogue.appeal[items]
        probability: Array = 1.0 / (1.0 + np.exp(self.position * np.log(position) - self.base - liking))
        return probability


LAW: Final = Law()


def browsing(store: Store, random: np.random.Generator, period: Period, sessions: int, first: int) -> tuple[Array, int]:
    """Return the events of so many sessions, and the number of their lists; the first list has the number `first`.

    A session has one to three lists, a minute apart. Events after a click carry the list's number.
    """
    people, catalogue = store.world.people, store.world.catalogue
    users, at, session = store.visitors(random, period, sessions)
    lists = random.integers(1, 2 * LISTS, size=sessions)
    visit = np.repeat(np.arange(sessions), lists)
    nth = np.arange(len(visit)) - np.repeat(np.cumsum(lists) - lists, lists)
    items = _lists(random, catalogue, period, len(visit))
    shown = blank(IMPRESSION, items.size)
    shown["user"], shown["session"] = np.repeat(users[visit], LENGTH), np.repeat(session[visit], LENGTH)
    shown["at"] = np.repeat(np.minimum(at[visit] + 60 * nth, period.end - 1), LENGTH)
    shown["item"], shown["position"] = items.ravel(), np.tile(np.arange(1, LENGTH + 1), len(visit))
    shown["place"] = np.repeat(nth % len(PLACEMENTS), LENGTH)
    shown["shown"] = np.repeat(np.arange(first, first + len(visit)), LENGTH)
    likely = LAW.probability(people, catalogue, shown["user"], shown["item"], shown["position"])
    return np.concatenate([shown, _followed(store, random, period, shown, likely)]), len(visit)


def _lists(random: np.random.Generator, catalogue: Catalogue, period: Period, number: int) -> Array:
    """Draw items on sale, popular ones more often.

    The items are dealt into as many groups as a list has positions, and each position takes one of another group. So no
    list shows an item twice.
    """
    weight = np.sqrt(catalogue.weight) * (catalogue.freshness(period.number) > 0)
    sold = np.flatnonzero(weight)
    group = np.arange(len(sold)) % LENGTH
    order = sold[np.argsort(group, kind="stable")]
    starts = np.searchsorted(np.sort(group), np.arange(LENGTH + 1))
    sums = running(weight[order])
    dealt = random.permuted(np.tile(np.arange(LENGTH), (number, 1)), axis=1)
    place = drawn_between(random, sums, starts[dealt.ravel()], starts[dealt.ravel() + 1]).reshape(dealt.shape)
    items: Array = order[place]
    return items


def _followed(store: Store, random: np.random.Generator, period: Period, shown: Array, probability: Array) -> Array:
    """Return clicks with their views, carts and purchases."""
    clicked = shown[chance(random, probability, len(shown))]
    clicks = derived(clicked, CLICK, random.integers(2, 50, size=len(clicked)))
    views = derived(clicks, VIEW, np.ones(len(clicks)))
    carted = clicks[chance(random, CART_RATE, len(clicks))]
    carts = derived(carted, CART, random.integers(10, 300, size=len(carted)))
    carts["quantity"], carts["value"] = store.worth(random, period, carts["item"])
    bought = carts[chance(random, BUY_RATE, len(carts))]
    purchases = derived(bought, PURCHASE, random.integers(30, 600, size=len(bought)))
    return np.concatenate([clicks, views, carts, purchases])

"""Simulates the orders of the wholesaler's customers: repeated items, and items from their preferred families."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.foreign_shop.items import DAYS, Items

_COUNTRIES: Final = (
    *("Germany", "France", "EIRE", "Spain", "Netherlands", "Belgium", "Switzerland", "Portugal", "Australia", "Norway"),
    *("Italy", "Channel Islands", "Finland", "Cyprus", "Sweden", "Austria", "Denmark", "Japan", "Poland", "USA"),
    *("Israel", "Singapore", "Iceland", "Canada", "Greece", "Malta", "United Arab Emirates", "European Community"),
    *("RSA", "Lebanon", "Lithuania", "Brazil", "Czech Republic", "Bahrain", "Saudi Arabia", "Unspecified"),
)
HOME: Final = "United Kingdom"
_PACKS: Final = (1, 2, 3, 4, 6, 8, 10, 12, 24, 48)
_DAY: Final = 86_400


@dataclass(frozen=True)
class Lines:
    """Ordered lines, in order of time; an item occurs at most once per order."""

    customer: NDArray[np.int64]
    order: NDArray[np.int64]
    second: NDArray[np.int64]
    """Seconds from the first day's midnight."""
    item: NDArray[np.int64]
    quantity: NDArray[np.int64]


def countries(n: int, random: np.random.Generator) -> NDArray[np.str_]:
    """Return the country of each customer: nine of ten at home, the others spread over many, mostly in few."""
    weight = 1.0 / np.arange(1, len(_COUNTRIES) + 1) ** 1.3
    abroad = random.choice(_COUNTRIES, size=n, p=weight / weight.sum())
    abroad[: len(_COUNTRIES)] = _COUNTRIES  # each of them has a customer
    at_home = random.random(n) < 0.9
    at_home[: len(_COUNTRIES)] = False
    return np.where(at_home, HOME, abroad)


def ordered(items: Items, customers: int, random: np.random.Generator) -> Lines:
    """Draw the orders of all customers over the whole time."""
    taste = random.dirichlet(np.full(len(items.peak_day), 0.06), size=customers)
    faithful = random.beta(4, 4, size=customers)
    visits = np.minimum(60, 1 + random.negative_binomial(0.7, 0.12, size=customers))
    visit_times = [
        (np.sort(random.integers(0, DAYS * _DAY, size=count)), customer) for customer, count in enumerate(visits)
    ]
    moments = sorted((int(second), customer) for seconds, customer in visit_times for second in seconds)
    counts = np.zeros((customers, len(items.codes)), dtype=np.float32)
    made: list[tuple[NDArray[np.int64], int, int]] = []
    for second, customer in moments:
        day = second // _DAY
        basket = _basket(items, counts[customer], taste[customer], float(faithful[customer]), day, random)
        counts[customer] *= 0.9
        counts[customer, basket] += 1
        # Shops are open from 8 to 18 o'clock, and orders have minutes, no seconds.
        opened = day * _DAY + 8 * 3600 + second % (10 * 3600) // 60 * 60
        made.append((basket, customer, opened))
    sizes = [len(basket) for basket, _, _ in made]
    item = np.concatenate([basket for basket, _, _ in made])
    return Lines(
        customer=np.repeat([customer for _, customer, _ in made], sizes),
        order=np.repeat(np.arange(len(made)), sizes),
        second=np.repeat([opened for _, _, opened in made], sizes),
        item=item,
        quantity=random.choice(_PACKS, size=len(item)) * np.where(items.price[item] < 1, 6, 1),
    )


def _basket(
    items: Items,
    own: NDArray[np.float32],
    taste: NDArray[np.float64],
    faithful: float,
    day: int,
    random: np.random.Generator,
) -> NDArray[np.int64]:
    """Return the items of one order."""
    size = int(min(60, 2 + random.negative_binomial(1.2, 0.07)))
    weights = items.weights_on(day)
    there = weights > 0
    again = random.binomial(size, faithful)
    repeated = _drawn(own * there, again, random)
    fresh = weights * (0.02 + taste[items.family])
    fresh[repeated] = 0.0
    chosen = _drawn(fresh, size - len(repeated), random)
    siblings = np.isin(items.sibling, items.sibling[chosen[: max(1, size // 6)]]) & there
    with_set = np.flatnonzero(siblings & (random.random(len(weights)) < 0.6))
    return np.unique(np.concatenate([repeated, chosen, with_set]))


def _drawn(weights: NDArray[np.floating], n: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Draw at most `n` positions without replacement (Efraimidis and Spirakis 2006)."""
    known = np.flatnonzero(weights > 0)
    n = min(n, len(known))
    if not n:
        return np.empty(0, dtype=np.int64)
    keys = np.log(random.random(len(known))) / weights[known]
    return known[np.argpartition(-keys, n - 1)[:n]]

"""Simulates the goods of a gift wholesaler, and the orders of its customers.

Goods are families with common words and seasons, colour sets, launches and ends. Customers order items again, and items
from their preferred families.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

DAYS: Final = 374
"""From the first day to the last, as in the public wholesale tables."""
SET_SIZE: Final = 4
"""Colours of one product, which are ordered together."""
SEASONAL_SHARE: Final = 0.25

_STYLES: Final = ("VINTAGE", "RETROSPOT", "REGENCY", "SCANDINAVIAN", "FRENCH", "RUSTIC", "PARISIENNE", "WOODLAND")
_PRODUCTS: Final = (
    *("CAKE TIN", "BUNTING", "T-LIGHT HOLDER", "LUNCH BAG", "MUG", "DOORMAT", "PHOTO FRAME", "CANDLE", "TEA TOWEL"),
    *("STORAGE JAR", "CHALKBOARD", "WICKER HEART", "PAPER CHAIN", "JIGSAW", "COASTER", "HOT WATER BOTTLE", "CLOCK"),
    *("SPOTTY CUP", "GARLAND", "NAPKIN", "TRAY", "LANTERN", "DRAWER KNOB", "PARASOL", "PURSE", "STICKER SHEET"),
)
_COLOURS: Final = ("RED", "BLUE", "PINK", "GREEN", "WHITE", "IVORY", "BLACK", "GOLD")
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
class Items:
    """All items, by position."""

    codes: NDArray[np.str_]
    titles: NDArray[np.str_]
    family: NDArray[np.int64]
    """[n] the item's family; items of a family have the same customers."""
    sibling: NDArray[np.int64]
    """[n] the item's colour set."""
    price: NDArray[np.float64]
    demand: NDArray[np.float64]
    """[n] mean demand; few items have most of it."""
    first_day: NDArray[np.int64]
    last_day: NDArray[np.int64]
    peak_day: NDArray[np.float64]
    """[n_families] the day of the year with the most sales; NaN for a family without a season."""

    def weights_on(self, day: int) -> NDArray[np.float64]:
        """Return the demand of each item on a day: 0 before its launch, and more in its season."""
        there = (self.first_day <= day) & (day <= self.last_day)
        away = np.abs((self.peak_day - day + 182) % 365 - 182)
        season = np.where(np.isnan(away), 1.0, 0.15 + 4.0 * np.exp(-((np.nan_to_num(away) / 28.0) ** 2)))
        weights: NDArray[np.float64] = self.demand * there * season[self.family]
        return weights


def made(n: int, random: np.random.Generator) -> Items:
    """Make `n` items."""
    sets = np.arange(n) // SET_SIZE
    families = max(8, n // 40)
    family_of_set = random.integers(families, size=sets.max() + 1)
    style, product = random.integers(len(_STYLES), size=families), random.permutation(families) % len(_PRODUCTS)
    size_word = random.integers(2, 90, size=sets.max() + 1)
    family = family_of_set[sets]
    names = (
        f"{_STYLES[style[f]]} {_PRODUCTS[product[f]]} {size_word[s]}CM {_COLOURS[i % SET_SIZE + SET_SIZE * (s % 2)]}"
        for i, (f, s) in enumerate(zip(family.tolist(), sets.tolist(), strict=True))
    )
    new = random.random(n) < 0.3
    ended = random.random(n) < 0.1
    seasonal = random.random(families) < SEASONAL_SHARE
    return Items(
        codes=np.array([f"{20_000 + s}{'ABCD'[i % SET_SIZE]}" for i, s in enumerate(sets.tolist())]),
        titles=np.array(list(names)),
        family=family,
        sibling=sets,
        price=np.round(np.exp(random.normal(0.8, 0.8, size=n)) + 0.19, 2),
        demand=random.permutation(1.0 / np.arange(1, n + 1) ** 0.7),
        first_day=np.where(new, random.integers(30, DAYS - 20, size=n), -1),
        last_day=np.where(ended, random.integers(120, DAYS, size=n), DAYS + 1),
        peak_day=np.where(seasonal, random.uniform(0, 365, size=families), np.nan),
    )


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

"""Simulates items: most arrive some day, sell by a Zipf-like law, and fade; a third are always available."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from benchmarks.shop.calendar import Period, season
from benchmarks.shop.categories import BRANDS, CATEGORIES, DEPARTMENTS, STEP, STYLES
from benchmarks.shop.sampling import Array, drawn, running

CURRENCY: Final = "EUR"
_ZIPF: Final = 0.9
_FLAT: Final = 0.001
"""An item's weight is (rank + this part of all items)^-0.9: Mandelbrot's form of Zipf's law, with a flatter head."""
_BASICS: Final = 0.3
_GONE: Final = 0.02
"""An item is delisted below this share of its first week's sales."""

DEPARTMENT_OF: Final = np.array([DEPARTMENTS.index(category.path.split("|")[0]) for category in CATEGORIES])
SHARES: Final = np.array([category.share for category in CATEGORIES])
PEAKS: Final = np.array([category.peak for category in CATEGORIES])


@dataclass(frozen=True)
class Catalogue:
    """Arrays with a position per item, in order of category and style."""

    category: Array
    brand: Array
    style: Array
    price: Array
    appeal: Array
    """Log weight of the item, with mean 0 and deviation 1: its popularity among users who see it."""
    weight: Array
    arrival: Array
    """Number of the first period in which it is sold."""
    fade: Array
    """Share of its sales lost per period: 0 for basics."""
    categories: Array
    """Begin of the items of each category, and the end of the last."""
    cells: Array
    """The same for each category and style, at position `category * STYLES + style`."""

    def __len__(self) -> int:
        return len(self.category)

    def freshness(self, number: int) -> Array:
        """Return the share of each item's sales that remains in a period: 0 before its arrival and after its end."""
        age = number - self.arrival
        remaining = np.where(age >= 0, (1.0 - self.fade) ** np.maximum(age, 0), 0.0)
        return np.where(remaining >= _GONE, remaining, 0.0)

    def demand(self, period: Period) -> Array:
        """Return the weight of each item in a period."""
        now: Array = self.weight * self.freshness(period.number) * season(period, PEAKS)[self.category]
        return now

    def names(self) -> pa.Array:
        """Return the item ids."""
        return pa.array([f"i{number:06}" for number in range(len(self))])

    def table(self, last: int) -> pa.Table:
        """Return the catalogue as a file. `available` are the items sold in period `last`."""
        paths, brands = pa.array([category.path for category in CATEGORIES]), pa.array(BRANDS)
        leaves = [category.path.split("|")[2].lower() for category in CATEGORIES]
        titles = [
            f"{BRANDS[brand]} {leaves[category]} {number % 997}"
            for number, (brand, category) in enumerate(zip(self.brand, self.category, strict=True))
        ]
        return pa.table(
            {
                "item_id": self.names(),
                "title": titles,
                "category": paths.take(pa.array(self.category)),
                "brand": brands.take(pa.array(self.brand)),
                "price": self.price,
                "available": self.freshness(last) > 0,
            }
        )


def stocked(random: np.random.Generator, number: int, periods: int) -> Catalogue:
    """Simulate so many items that arrive over so many periods."""
    category = drawn(random, running(SHARES), number)
    style = drawn(random, running([3, 5, 5, 4, 2, 1]), number)
    order = np.lexsort((style, category))
    category, style = category[order], style[order]
    within = drawn(random, running(1.0 / np.arange(1, len(BRANDS) // STYLES + 1)), number)
    usual = np.array([c.price for c in CATEGORIES])[category] * STEP ** (style - 1.5)
    price = np.floor(usual * random.lognormal(0.0, 0.2, number)) + random.choice([0.5, 0.95, 0.99], number)
    basic = random.permutation(number) < _BASICS * number
    weight = (random.permutation(number) + 1.0 + _FLAT * number) ** -_ZIPF
    liked = np.log(weight)
    cell = category * STYLES + style
    return Catalogue(
        category=category,
        brand=within * STYLES + style,
        style=style,
        price=price,
        appeal=(liked - liked.mean()) / liked.std(),
        # What is sold for a few weeks only is sold by as many pieces.
        weight=weight * np.where(basic, 1.0, 4.0),
        arrival=np.where(basic | (random.random(number) < 0.1), 0, random.integers(periods, size=number)),
        fade=np.where(basic, 0.0, 1.0 - np.exp(-1.0 / random.uniform(3.0, 14.0, number))),
        categories=np.searchsorted(category, np.arange(len(CATEGORIES) + 1)),
        cells=np.searchsorted(cell, np.arange(len(CATEGORIES) * STYLES + 1)),
    )

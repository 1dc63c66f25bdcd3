"""Simulates the goods of a gift wholesaler: families with common words and seasons, colour sets, launches and ends."""

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

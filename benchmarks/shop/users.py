"""Simulates users: their taste depends on their traits; their number of purchases depends on nothing observable."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from benchmarks.shop.categories import DEPARTMENTS, STYLES
from benchmarks.shop.items import DEPARTMENT_OF, SHARES
from benchmarks.shop.sampling import Array, chance, drawn, drawn_between, running

AGES: Final = ("16-24", "25-34", "35-44", "45-54", "55-64", "65+")
COUNTRIES: Final = ("DE", "FR", "GB", "PL", "ES", "SE")
FAVOURITES: Final = 3
_AGED: Final = (18, 29, 20, 17, 10, 6)
_LIVING: Final = (30, 18, 20, 14, 10, 8)
_DEARER: Final = {"age": (0.6, 1.5, 2.2, 2.6, 3.0, 2.4), "country": (0.3, 0.2, 0.0, -0.9, -0.3, 0.6)}
"""Mean style by age, and the effect of the country."""
_DEPARTMENTS: Final = (
    (52, 20, 1, 12, 13, 2),
    (38, 18, 22, 10, 8, 4),
    (28, 16, 34, 8, 7, 7),
    (40, 24, 6, 8, 10, 12),
    (42, 22, 8, 4, 8, 16),
    (44, 20, 10, 2, 6, 18),
)
"""Of 100 users of each age, how many prefer each of DEPARTMENTS."""


@dataclass(frozen=True)
class People:
    """Arrays with a position per user."""

    age: Array
    stated: Array
    """Whether the user stated an age."""
    country: Array
    member: Array
    style: Array
    favourites: Array
    """Three categories each; one may occur twice."""
    activity: Array
    """Weight of visits while the user is a customer."""
    joins: Array
    leaves: Array
    """Number of the first period as a customer, and of the first one no longer."""
    debut: Array
    """Number of a period with a certain visit, so that every user occurs once."""
    hour: Array
    weekend: Array
    """Preferred hour and days."""
    loyalty: Array
    """Share of purchases that repeat an earlier one."""

    def __len__(self) -> int:
        return len(self.age)

    def present(self, number: int) -> Array:
        """Return the weight of each user in a period."""
        return np.where((self.joins <= number) & (number < self.leaves), self.activity, 0.0)

    def names(self) -> pa.Array:
        """Return the user ids."""
        return pa.array([f"u{number:07}" for number in range(len(self))])

    def table(self) -> pa.Table:
        """Return the users as a file; an unstated age is null."""
        ages = pa.array(AGES).take(pa.array(self.age, mask=~self.stated))
        countries = pa.array(COUNTRIES).take(pa.array(self.country))
        return pa.table({"user_id": self.names(), "age_group": ages, "country": countries, "member": self.member})


def populated(random: np.random.Generator, number: int, periods: int) -> People:
    """Simulate so many users over so many periods; some hardly ever occur."""
    age, country = drawn(random, running(_AGED), number), drawn(random, running(_LIVING), number)
    member = chance(random, 0.35, number)
    dearer = np.array(_DEARER["age"])[age] + np.array(_DEARER["country"])[country]
    style = np.clip(np.rint(dearer + random.normal(0.0, 1.0, number)), 0, STYLES - 1)
    joins = np.where(chance(random, 0.45, number), 0, random.integers(periods, size=number))
    stay = 1 + random.exponential(0.7 * periods, number)
    joins[0], stay[0] = 0, periods  # so that somebody is there
    leaves = np.minimum(joins + stay, periods).astype("int16")
    return People(
        age=age.astype("int8"),
        stated=chance(random, 0.92, number),
        country=country.astype("int8"),
        member=member,
        style=style.astype("int8"),
        favourites=_favourites(random, age),
        activity=random.gamma(0.55, 1.0, number) * np.where(member, 1.8, 1.0),
        joins=joins.astype("int16"),
        leaves=leaves,
        debut=random.integers(joins, leaves).astype("int16"),
        hour=random.choice([8.0, 12.5, 17.5, 20.5], number, p=[0.1, 0.25, 0.25, 0.4]).astype("float32"),
        weekend=chance(random, 0.4, number),
        loyalty=random.beta(1.5, 8.5, number).astype("float32") + np.where(member, 0.08, 0.0).astype("float32"),
    )


def _favourites(random: np.random.Generator, age: Array) -> Array:
    """Draw favourite categories, mostly of one department, which depends on the age."""
    firsts = np.searchsorted(DEPARTMENT_OF, np.arange(len(DEPARTMENTS) + 1))
    likes, shares = running(_DEPARTMENTS), running(SHARES)
    best = drawn_between(random, likes, age * len(DEPARTMENTS), (age + 1) * len(DEPARTMENTS)) % len(DEPARTMENTS)
    favourites = np.empty((len(age), FAVOURITES), dtype="int8")
    for place in range(FAVOURITES):
        own = chance(random, 0.75, len(age))
        low, high = np.where(own, firsts[best], 0), np.where(own, firsts[best + 1], firsts[-1])
        favourites[:, place] = drawn_between(random, shares, low, high)
    return favourites

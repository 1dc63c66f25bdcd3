"""The users of a made-up shop: what they like depends on who they are, and how much they buy on nothing we see."""

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
"""The style that people of an age like on average, and what is added by country."""
_DEPARTMENTS: Final = (
    (52, 20, 1, 12, 13, 2),
    (38, 18, 22, 10, 8, 4),
    (28, 16, 34, 8, 7, 7),
    (40, 24, 6, 8, 10, 12),
    (42, 22, 8, 4, 8, 16),
    (44, 20, 10, 2, 6, 18),
)
"""Of 100 people of each age, how many like each of DEPARTMENTS best."""


@dataclass(frozen=True)
class People:
    """One place of each array for a user."""

    age: Array
    stated: Array
    """Whether they told their age."""
    country: Array
    member: Array
    style: Array
    favourites: Array
    """Three categories each; the same one may come twice."""
    activity: Array
    """In proportion to how often they come while they are customers."""
    joins: Array
    leaves: Array
    """The numbers of the first period in which they come, and of the first in which they no longer do."""
    debut: Array
    """The number of a period in which they come in any case, so that everybody is seen once."""
    hour: Array
    weekend: Array
    """When on a day, and on which days, they like to come."""
    loyalty: Array
    """The share of their purchases that they have made before."""

    def __len__(self) -> int:
        return len(self.age)

    def present(self, number: int) -> Array:
        """The weight of each user in a period."""
        return np.where((self.joins <= number) & (number < self.leaves), self.activity, 0.0)

    def names(self) -> pa.Array:
        """The user ids."""
        return pa.array([f"u{number:07}" for number in range(len(self))])

    def table(self) -> pa.Table:
        """The users as a file has them; an age that was not told is null."""
        ages = pa.array(AGES).take(pa.array(self.age, mask=~self.stated))
        countries = pa.array(COUNTRIES).take(pa.array(self.country))
        return pa.table({"user_id": self.names(), "age_group": ages, "country": countries, "member": self.member})


def populated(random: np.random.Generator, number: int, periods: int) -> People:
    """So many users who come and go over so many periods; of some hardly anything is ever seen."""
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
    """Mostly of one department, which depends on the age."""
    firsts = np.searchsorted(DEPARTMENT_OF, np.arange(len(DEPARTMENTS) + 1))
    likes, shares = running(_DEPARTMENTS), running(SHARES)
    best = drawn_between(random, likes, age * len(DEPARTMENTS), (age + 1) * len(DEPARTMENTS)) % len(DEPARTMENTS)
    favourites = np.empty((len(age), FAVOURITES), dtype="int8")
    for place in range(FAVOURITES):
        own = chance(random, 0.75, len(age))
        low, high = np.where(own, firsts[best], 0), np.where(own, firsts[best + 1], firsts[-1])
        favourites[:, place] = drawn_between(random, shares, low, high)
    return favourites

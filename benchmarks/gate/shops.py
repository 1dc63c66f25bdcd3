"""Simulates small shops of several shapes for trials of the gate; each seed is another shop of the same shape."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.columns import ITEM_ID, OCCURRED_AT, SESSION_ID, USER_KEY, VALUE
from models.datasets.dataset import Dataset
from models.primitives.time import DAY

HORIZON: Final = 28
"""Days of the test weeks, and of the validation weeks before them."""
DAYS: Final = 168
"""Days up to the first data set; the second one ends a horizon later."""


@dataclass(frozen=True)
class Shape:
    """The buying behaviour in a shop."""

    name: str
    kind: str
    """Kind of the promoted model."""
    users: int
    items: int
    visits: float
    """Mean days between two visits of a user; users differ by a factor of 2."""
    basket: int
    """Mean number of items per visit."""
    repeats: float
    """Probability that an item is one of the user's favourites."""
    own: int
    """Number of the user's favourites; 0 if they are the items bought before."""
    skew: float
    """Exponent of popularity by rank."""
    tastes: int
    loyal: float
    """Probability that a new item matches the user's taste."""
    categories: bool
    born: float = 0.0
    """Share of the items that appear during the simulation; new items are more popular."""
    traits: tuple[int, ...] = ()
    """Number of values of each trait of users."""
    quiet: float = 0.0
    """Share of the visits of the last horizon that do not happen: a slack season after the promotion."""


SHAPES: Final = (
    Shape("grocery", "graph_filter", 250, 400, 16, 5, 0.85, 40, 0.7, 8, 0.9, True, traits=(4, 3)),
    Shape("wholesale", "graph_filter", 300, 600, 28, 8, 0.4, 0, 1.1, 8, 0.9, False, traits=(25,), quiet=0.4),
    Shape("content", "als", 200, 600, 9, 3, 0.03, 0, 0.7, 10, 0.85, True, born=0.3),
)


@dataclass(frozen=True)
class Shop:
    """All events, with the users and items."""

    interactions: pa.Table
    users: pa.Table
    items: pa.Table

    def dataset(self, days: int) -> Dataset:
        """Return the data set of the first days."""
        cuts = {"validation_from": days - 2 * HORIZON, "test_from": days - HORIZON, "as_of": days}
        manifest = {name: day * DAY for name, day in cuts.items()} | {"version": f"day {days}"}
        rows = self.interactions.filter(np.asarray(self.interactions[OCCURRED_AT]) < days * DAY)
        return Dataset(manifest, rows, self.users, self.items, stored=partial(_features, rows))


def _features(rows: pa.Table, name: str, cut: int) -> pa.Table:
    """Return the part of the feature tables that the models of these trials use; all of them take long to compute."""
    known = rows.filter(np.asarray(rows[OCCURRED_AT]) < cut)
    if name == "item_features":
        return known.group_by(ITEM_ID).aggregate([]).select([ITEM_ID])
    by_user = known.group_by(USER_KEY).aggregate([(OCCURRED_AT, "max"), (SESSION_ID, "count_distinct"), (VALUE, "sum")])
    recency = (cut - np.asarray(by_user[f"{OCCURRED_AT}_max"])) / DAY
    columns = {"recency_days": recency, "frequency": by_user[f"{SESSION_ID}_count_distinct"]}
    return pa.table({USER_KEY: by_user[USER_KEY]} | columns | {"monetary": by_user[f"{VALUE}_sum"]})


def simulate(shape: Shape, seed: int) -> Shop:
    """Return a shop of that shape."""
    random = np.random.default_rng(seed)
    taste = random.integers(shape.tastes, size=shape.items)
    weight = (1 + random.permutation(shape.items)) ** -shape.skew
    born = np.where(random.random(shape.items) < shape.born, random.uniform(0, DAYS + HORIZON, shape.items), -DAYS)
    rows = []
    for user in range(shape.users):
        chances = weight * np.array([taste == random.integers(shape.tastes), np.ones(shape.items)])
        rows += [(user, *bought) for bought in _visits(shape, chances, born, random)]
    return _shop(shape, rows, taste, random)


def _visits(
    shape: Shape, chances: NDArray[Any], born: NDArray[Any], random: np.random.Generator
) -> list[tuple[int, float, int]]:
    """Return (item, day, visit) of a user; `chances` [2, items] are of the user's taste and of popularity."""
    gap, day = shape.visits * random.uniform(0.7, 1.4), random.uniform(-shape.visits, shape.visits)
    summed = chances.cumsum(axis=1)
    own = [_draw(summed[int(random.random() > shape.loyal)], random) for _ in range(shape.own)]
    rows: list[tuple[int, float, int]] = []
    visit = 0
    while (day := day + random.exponential(gap)) < DAYS + HORIZON:
        if day < 0 or (day >= DAYS and random.random() < shape.quiet):
            continue
        if shape.born:
            age = day - born
            summed = (chances * np.where(age < 0, 0.0, np.where(born < 0, 1.0, 1 + 4 * np.exp(-age / 14)))).cumsum(1)
        known = own if shape.own else [item for item, _, _ in rows]
        picks = set()
        for _ in range(1 + random.poisson(shape.basket - 1)):
            again = known and random.random() < shape.repeats
            picks.add(
                known[random.integers(len(known))]
                if again
                else _draw(summed[int(random.random() > shape.loyal)], random)
            )
        rows += [(item, day, visit) for item in sorted(picks)]
        visit += 1
    return rows


def _draw(summed: NDArray[Any], random: np.random.Generator) -> int:
    """Draw one item by cumulated chances."""
    return min(int(np.searchsorted(summed, random.random() * summed[-1], side="right")), len(summed) - 1)


def _shop(
    shape: Shape, rows: list[tuple[int, int, float, int]], taste: NDArray[Any], random: np.random.Generator
) -> Shop:
    user, item, day, visit = (np.array(column) for column in zip(*rows, strict=True))
    at, one = (day * DAY).astype(np.int64), np.ones(len(rows))
    keys, ids = _names("u", user), _names("i", item)
    sessions = [f"{key} {number}" for key, number in zip(keys, visit, strict=True)]
    events = {"user_key": keys, "item_id": ids, "occurred_at": at, "received_at": at, "session_id": sessions}
    every = _names("i", np.arange(shape.items))
    category = [f"Kind {number}" if shape.categories else None for number in taste]
    goods = {"item_id": every, "title": every, "category": pa.array(category, pa.string())}
    goods |= {"brand": pa.nulls(shape.items, pa.string()), "price": np.full(shape.items, 2.0)}
    goods |= {"available": [True] * shape.items}
    people: dict[str, list[str]] = {"user_key": _names("u", np.arange(shape.users))}
    for number, values in enumerate(shape.traits):
        place = np.minimum(random.geometric(0.3, shape.users), values)
        people[f"trait_{number}"] = [f"value {one}" for one in place]
    return Shop(pa.table(events | {"quantity": one, "value": 2 * one}), pa.table(people), pa.table(goods))


def _names(letter: str, numbers: NDArray[Any]) -> list[str]:
    return [f"{letter}{number:04}" for number in numbers]

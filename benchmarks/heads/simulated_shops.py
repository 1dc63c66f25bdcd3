"""Simulates small shops whose chance of every purchase is known; each seed is another shop of the same shape."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.columns import ITEM_ID, OCCURRED_AT, SESSION_ID, USER_KEY, VALUE
from models.datasets.dataset import Dataset
from models.datasets.training_data import TrainingData
from models.primitives.time import DAY

HORIZON: Final = 28
"""Days of the test weeks, and of the validation weeks before them."""
_YEAR: Final = 52
_RECENT: Final = 60
"""Days for which a purchase calls for the items that go with it, and for its collection."""
Array = NDArray[Any]


@dataclass(frozen=True)
class Shape:
    """The buying behaviour in a shop."""

    name: str
    kind: str
    """Kind of the model that the trials of the gate promote."""
    users: int
    items: int
    visits: float
    """Mean days between two visits of a user; users differ by a factor of 2."""
    basket: float
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
    categories: int
    """0 for a catalogue without categories."""
    born: float = 0.0
    """Share of the items that appear during the simulation; new items are more popular."""
    traits: tuple[int, ...] = ()
    """Number of values of each trait of users."""
    quiet: float = 0.0
    """Share of the visits of the last horizon that do not happen: a slack season after the promotion."""
    seasonal: float = 0.0
    """Share of the categories that sell best in some weeks of the year."""
    pairs: float = 0.0
    """Probability that a new item goes with one of the last purchases."""
    collection: int = 0
    """Number of items of a collection; then those that go with a purchase are the rest of its collection."""
    days: int = 168
    """Days up to the first data set; the simulation ends a horizon later."""
    durable: bool = False
    """Whether a new item is never one that the user has."""


SHAPES: Final = (
    Shape("grocery", "graph_filter", 250, 400, 16, 5, 0.85, 40, 0.7, 8, 0.9, 8, traits=(4, 3)),
    Shape("wholesale", "graph_filter", 300, 600, 28, 8, 0.4, 0, 1.1, 8, 0.9, 0, traits=(25,), quiet=0.4),
    Shape("content", "als", 200, 600, 9, 3, 0.03, 0, 0.7, 10, 0.85, 10, born=0.3),
)
"""The shops of the gate's trials."""


def drawn_shape(name: str, seed: int) -> Shape:
    """Return a shop with few repeats, pairs and season (`diy`), or with collections and no repeats (`collections`).

    Its parameters are drawn by the seed.
    """
    random = np.random.default_rng([seed, 1])
    shape = Shape(
        name,
        "als",
        users=int(random.integers(900, 1801)),
        items=int(random.integers(900, 2201)),
        visits=random.uniform(18, 40),
        basket=random.uniform(2, 4),
        repeats=random.uniform(0.03, 0.15),
        own=0,
        skew=random.uniform(0.5, 1.0),
        tastes=int(random.integers(6, 15)),
        loyal=random.uniform(0.6, 0.9),
        categories=int(random.integers(20, 61)),
        born=random.uniform(0.0, 0.2),
        seasonal=random.uniform(0.3, 0.7),
        pairs=random.uniform(0.1, 0.35),
        days=2 * 7 * _YEAR,
        durable=True,
    )
    if name == "diy":
        return shape
    return replace(
        shape,
        repeats=0.0,
        pairs=random.uniform(0.25, 0.55),
        collection=int(random.integers(4, 10)),
        seasonal=random.uniform(0.0, 0.4),
    )


class Goods(NamedTuple):
    """The items of a shop."""

    taste: Array
    category: Array
    weight: Array
    """Popularity."""
    born: Array
    """The day on which each appears."""
    season: Array
    """[52, items] factor of each week of the year."""
    partners: Array
    """[items, p] items that go with each."""


class Person(NamedTuple):
    """The habits of a user."""

    tastes: Array
    """[tastes] weights."""
    own: Array
    """The favourite items; empty if they are the items bought before."""
    gap: float
    """Mean days between two visits."""


@dataclass(frozen=True)
class Shop:
    """All events, with the users and items, and the truth behind them."""

    shape: Shape
    goods: Goods
    people: list[Person]
    interactions: pa.Table
    users: pa.Table
    items: pa.Table
    bought: list[Array] = field(repr=False)
    """By user [n, 2] item and day."""

    def dataset(self, days: int, features: bool = True) -> Dataset:
        """Return the data set of the first days; without `features` it has only what simple models use."""
        cuts = {"validation_from": days - 2 * HORIZON, "test_from": days - HORIZON, "as_of": days}
        manifest = {name: day * DAY for name, day in cuts.items()} | {"version": f"day {days}"}
        rows = self.interactions.filter(np.asarray(self.interactions[OCCURRED_AT]) < days * DAY)
        stored: dict[str, Callable[..., Any]] = {} if features else {"stored": partial(_features, rows)}
        return Dataset(manifest, rows, self.users, self.items, **stored)

    def truth(self, data: TrainingData, users: Array) -> Array:
        """Return [m, n_items] how many of each item each user is expected to buy within a horizon after the cut."""
        day, ids = data.cut / DAY, np.array([int(one[1:]) for one in data.items])
        expected = np.zeros((len(users), len(ids)), dtype=np.float32)
        for row, user in enumerate(users):
            number = int(data.users[user][1:])
            known = self.bought[number][self.bought[number][:, 1] < day]
            person = self.people[number]
            for week in range(HORIZON // 7):
                chance = chances(self.shape, self.goods, person, known, day + 7 * week + 3.5)
                expected[row] += (chance * self.shape.basket * 7 / person.gap)[ids]
        return expected


def chances(shape: Shape, goods: Goods, person: Person, bought: Array, day: float) -> Array:
    """Return [items] the chance of each item to be the next in a user's basket on a day, after what was `bought`."""
    now = goods.weight * goods.season[int(day / 7) % _YEAR]
    if shape.born:
        age = day - goods.born
        now = now * np.where(age < 0, 0.0, np.where(goods.born < 0, 1.0, 1 + 4 * np.exp(-np.maximum(age, 0) / 14)))
    own, last = bought[:, 0].astype(int), bought[bought[:, 1] > day - _RECENT, 0].astype(int)
    if shape.durable:
        now[own] = 0.0
    fitting = now * person.tastes[goods.taste]
    chance: Array = shape.loyal * fitting / max(fitting.sum(), 1e-12) + (1 - shape.loyal) * now / max(now.sum(), 1e-12)
    if shape.pairs and len(last):
        partners = np.bincount(goods.partners[last].ravel(), minlength=shape.items) * (now > 0)
        if partners.any():
            chance = (1 - shape.pairs) * chance + shape.pairs * partners / partners.sum()
    favourites = person.own if shape.own else own
    if shape.repeats and len(favourites):
        again = np.bincount(favourites, minlength=shape.items)
        chance = (1 - shape.repeats) * chance + shape.repeats * again / again.sum()
    return chance


def simulate(shape: Shape, seed: int) -> Shop:
    """Return a shop of that shape."""
    random = np.random.default_rng(seed)
    goods = _goods(shape, random)
    people = [_person(shape, goods, random) for _ in range(shape.users)]
    rows: list[tuple[int, int, float, int]] = []
    bought = []
    for user, person in enumerate(people):
        own = _visits(shape, goods, person, random)
        rows += [(user, *one) for one in own]
        bought.append(np.array([one[:2] for one in own], dtype=float).reshape(-1, 2))
    return _shop(shape, goods, people, rows, bought, random)


def _goods(shape: Shape, random: np.random.Generator) -> Goods:
    n, kinds = shape.items, max(1, shape.categories)
    category = random.integers(kinds, size=n)
    taste = np.where(random.random(n) < 0.7, category % shape.tastes, random.integers(shape.tastes, size=n))
    weight = (1.0 + random.permutation(n)) ** -shape.skew
    born = np.where(random.random(n) < shape.born, random.uniform(0, shape.days + HORIZON, n), -shape.days)
    peak, height = random.integers(_YEAR, size=kinds), random.uniform(2, 12, kinds)
    apart = np.abs((np.arange(_YEAR)[:, None] - peak + _YEAR / 2) % _YEAR - _YEAR / 2)
    wave = np.where(random.random(kinds) < shape.seasonal, 0.4 + height * np.exp(-((apart / 3) ** 2) / 2), 1.0)
    # Items that go together are of one taste, which says nothing of their categories.
    order = np.lexsort((random.random(n), taste))
    size = shape.collection or 4
    place = np.empty(n, dtype=int)
    place[order] = np.arange(n)
    start = place // size * size
    partners = order[np.minimum(start[:, None] + np.arange(size), n - 1)]
    return Goods(taste, category, weight, born, wave[:, category], partners)


def _person(shape: Shape, goods: Goods, random: np.random.Generator) -> Person:
    tastes = np.zeros(shape.tastes)
    tastes[random.integers(shape.tastes)] = 1.0
    tastes[random.integers(shape.tastes)] += random.uniform(0, 0.7)
    person = Person(tastes, np.empty(0, dtype=int), shape.visits * random.uniform(0.7, 1.4))
    if not shape.own:
        return person
    chance = chances(replace(shape, own=0), goods, person, np.empty((0, 2)), 0.0)
    return person._replace(own=_draw(chance, shape.own, random))


def _visits(shape: Shape, goods: Goods, person: Person, random: np.random.Generator) -> list[tuple[int, float, int]]:
    """Return (item, day, visit) of a user."""
    day, rows, visit = random.uniform(-shape.visits, shape.visits), list[tuple[int, float, int]](), 0
    while (day := day + random.exponential(person.gap)) < shape.days + HORIZON:
        if day < 0 or (day >= shape.days and random.random() < shape.quiet):
            continue
        known = np.array([row[:2] for row in rows], dtype=float).reshape(-1, 2)
        size = 1 + random.poisson(shape.basket - 1)
        picks = np.unique(_draw(chances(shape, goods, person, known, day), size, random))
        rows += [(int(item), day, visit) for item in picks]
        visit += 1
    return rows


def _draw(chance: Array, number: int, random: np.random.Generator) -> Array:
    """Draw items by their chances, with replacement."""
    summed = chance.cumsum()
    places: Array = np.searchsorted(summed, random.random(number) * summed[-1], side="right")
    return np.minimum(places, len(chance) - 1)


def _shop(
    shape: Shape,
    goods: Goods,
    people: list[Person],
    rows: list[tuple[int, int, float, int]],
    bought: list[Array],
    random: np.random.Generator,
) -> Shop:
    user, item, day, visit = (np.array(column) for column in zip(*rows, strict=True))
    at, price = (day * DAY).astype(np.int64), np.round(random.lognormal(1.5, 0.8, shape.items), 2)
    keys, ids = _names("u", user), _names("i", item)
    sessions = [f"{key} {number}" for key, number in zip(keys, visit, strict=True)]
    events = {USER_KEY: keys, ITEM_ID: ids, OCCURRED_AT: at, "received_at": at, SESSION_ID: sessions}
    every = _names("i", np.arange(shape.items))
    paths = [f"Aisle {one % 5}|Kind {one}" if shape.categories else None for one in goods.category]
    catalogue = {ITEM_ID: every, "title": every, "category": pa.array(paths, pa.string())}
    catalogue |= {"brand": pa.nulls(shape.items, pa.string()), "price": price, "available": [True] * shape.items}
    traits: dict[str, list[str]] = {USER_KEY: _names("u", np.arange(shape.users))}
    for number, values in enumerate(shape.traits):
        place = np.minimum(random.geometric(0.3, shape.users), values)
        traits[f"trait_{number}"] = [f"value {one}" for one in place]
    sold = pa.table(events | {"quantity": np.ones(len(at)), VALUE: price[item.astype(int)]})
    return Shop(shape, goods, people, sold, pa.table(traits), pa.table(catalogue), bought)


def _names(letter: str, numbers: Array) -> list[str]:
    return [f"{letter}{int(number):05}" for number in numbers]


def _features(rows: pa.Table, name: str, cut: int) -> pa.Table:
    """Return the part of the feature tables that models without a ranker use; all of them take long to compute."""
    known = rows.filter(np.asarray(rows[OCCURRED_AT]) < cut)
    if name == "item_features":
        return known.group_by(ITEM_ID).aggregate([]).select([ITEM_ID])
    by_user = known.group_by(USER_KEY).aggregate([(OCCURRED_AT, "max"), (SESSION_ID, "count_distinct"), (VALUE, "sum")])
    recency = (cut - np.asarray(by_user[f"{OCCURRED_AT}_max"])) / DAY
    columns = {"recency_days": recency, "frequency": by_user[f"{SESSION_ID}_count_distinct"]}
    return pa.table({USER_KEY: by_user[USER_KEY]} | columns | {"monetary": by_user[f"{VALUE}_sum"]})

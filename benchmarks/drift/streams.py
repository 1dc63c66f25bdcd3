"""Simulates stationary days of a shop from its last weeks, and shifts that begin on a day.

A day of a stream is a day of the shop on the same weekday, with resampled users. So only the users change from one day
to the next, and each user comes with all events of that day.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from benchmarks.shop.event_rows import KINDS, PURCHASE
from benchmarks.shop.sampling import Array
from benchmarks.shop.simulation import Plan, simulate, world
from models.monitoring.drift.signals.event_columns import DAY, KIND, Events, ItemTable, gaps

DAYS: Final = 70
"""Last days of the shop, from which streams are drawn."""
USERS: Final = 40_000
CODES: Final = np.array([KIND[name] for name in KINDS])
"""Codes of event kinds, by the codes of the simulated shop."""
_MONTHS: Final = 6
_ITEMS: Final = 5_000
_PLAN: Final = Plan(purchases=600_000, trails=1.0, views=700_000, sessions=220_000)
MOST_COPIES: Final = 8
"""Most copies of a user on one day."""
USERS_OF_STREAMS: Final = USERS * MOST_COPIES


@dataclass(frozen=True)
class Shop:
    """A shop's days to draw from."""

    rows: Array
    """Events (`event_rows.EVENT`) by time."""
    user_since: Array
    item_since: Array
    gap: Array
    categories: Array
    prices: Array
    """Price of a piece of each item."""
    first_day: int

    @classmethod
    def made(cls, seed: int) -> "Shop":
        """Return the last days of some months of a shop."""
        shop = world(USERS, _ITEMS, seed, _MONTHS)
        rows = np.concatenate([part.rows for part in simulate(shop, _PLAN, seed)])
        rows = rows[np.argsort(rows["at"], kind="stable")]
        first = int(rows["at"][-1]) // DAY + 1 - DAYS
        since = [_first(rows[name], rows["at"], size) for name, size in (("user", USERS), ("item", _ITEMS))]
        apart = gaps(rows["user"], rows["item"], rows["at"], CODES[rows["kind"]])
        late = rows["at"] >= first * DAY
        gap, rows = apart[late], rows[late]
        return cls(
            rows, since[0][rows["user"]], since[1][rows["item"]], gap, shop.catalogue.category, _prices(rows), first
        )


def _first(codes: Array, at: Array, size: int) -> Array:
    first_seen = np.full(size, np.iinfo(np.int64).max)
    np.minimum.at(first_seen, codes, at)
    return first_seen


def _prices(rows: Array) -> Array:
    sold = rows[rows["kind"] == PURCHASE]
    sums = [np.bincount(sold["item"], sold[name], _ITEMS) for name in ("value", "quantity")]
    return np.where(sums[1] > 0, sums[0], 1.0) / np.where(sums[1] > 0, sums[1], 1.0)


def goods(shop: Shop) -> ItemTable:
    """Return its items, and as many new ones."""
    category = np.concatenate([shop.categories, shop.categories]).astype(np.int64)
    vectors = np.eye(int(category.max()) + 1, dtype=np.float32)[category]
    return ItemTable(category, vectors)


@dataclass
class Day:
    """Columns of a day under construction; a shift changes them."""

    rows: Array
    user_since: Array
    item_since: Array
    gap: Array
    often: Array
    """[users] how often each user comes."""
    random: np.random.Generator
    known_until: int
    """The champion's cut."""
    began: int
    """Begin of the shift."""
    prices: Array
    """[items] codes beyond these are new items."""

    @property
    def items(self) -> int:
        """Return the number of items."""
        return len(self.prices)

    def select_rows(self, mask: Array) -> None:
        """Keep only the events of a mask."""
        for name in ("rows", "user_since", "item_since", "gap"):
            setattr(self, name, getattr(self, name)[mask])


Shift = Callable[[Day, np.random.Generator], None]
"""Changes a day; the generator is the same on each day of a stream."""


@dataclass
class Stream:
    """Consecutive days of the same shop, from day 0."""

    shop: Shop
    seed: int
    known_days: int
    """Return the days that a champion knows."""
    days: dict[int, Events] = field(default_factory=dict)

    def day(self, number: int, shift: Shift | None = None, began: int = 0) -> Events:
        """Return the events of a day by time, changed by a shift that began on a day."""
        random = np.random.default_rng([self.seed, number])
        same = np.arange(number % 7, DAYS, 7)
        source = int(random.choice(same))
        begin = (self.shop.first_day + source) * DAY
        first, last = np.searchsorted(self.shop.rows["at"], [begin, begin + DAY])
        moved = (number - source) * DAY
        rows = self.shop.rows[first:last].copy()
        rows["at"] += moved
        often = np.minimum(random.poisson(1.0, USERS), MOST_COPIES)
        known_until, since = ((self.shop.first_day + day) * DAY for day in (self.known_days, began))
        shop = self.shop
        user_since, item_since = shop.user_since[first:last] + moved, shop.item_since[first:last] + moved
        gap = shop.gap[first:last].copy()
        made = Day(rows, user_since, item_since, gap, often, random, known_until, since, shop.prices)
        if shift is not None:
            shift(made, np.random.default_rng([self.seed, 7]))
        return _events(made, number)

    def whole(self, until: int) -> Events:
        """Return days 0 to `until` (excluded), unchanged."""
        return joined([self.days.setdefault(number, self.day(number)) for number in range(until)])


def _events(day: Day, number: int) -> Events:
    """Return the day's events, repeated as often as their user comes, each time as another user."""
    times = day.often[day.rows["user"]]
    at = np.repeat(np.arange(len(day.rows)), times)
    copy = np.arange(len(at)) - np.repeat(np.cumsum(times) - times, times)
    rows = day.rows[at]
    user = rows["user"].astype(np.int64) + copy * USERS
    listed = rows["shown"] >= 0
    session = (rows["session"] * MOST_COPIES + copy) * 1_000 + number
    return Events(
        user, rows["item"].astype(np.int64), CODES[rows["kind"]], rows["at"], session,
        rows["quantity"].astype(np.float64),
        rows["value"], np.isfinite(rows["value"]), rows["position"].astype(np.int64), listed,
        day.user_since[at], day.item_since[at], day.gap[at],
    )  # fmt: skip


def joined(days: list[Events]) -> Events:
    """Join several days."""
    columns: Any = (np.concatenate(parts) for parts in zip(*days, strict=True))
    return Events(*columns)

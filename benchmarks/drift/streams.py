"""Simulates stationary days of a shop, and shifts that begin on a day.

A day of a stream is a day of the shop on the same weekday, with resampled users. So only the users change from one day
to the next, and each user comes with all events of that day.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from benchmarks.drift.base_shop import CODES, DAYS, USERS, Shop
from benchmarks.shop.sampling import Array
from models.monitoring.drift.signals.event_columns import DAY, Events

MOST_COPIES: Final = 8
"""Most copies of a user on one day."""
USERS_OF_STREAMS: Final = USERS * MOST_COPIES


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

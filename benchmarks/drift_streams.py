"""Stationary days of a made-up shop, and shifts that begin on a day: what monitors are held against.

A day of a stream is a day of the shop on the same weekday, with its users drawn again: nothing changes from one day to
the next but who comes, and each user comes with everything that he does on that day.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from benchmarks.shop_draws import Array
from benchmarks.shop_rows import KINDS, PURCHASE
from benchmarks.shop_simulation import Plan, simulate, world
from models.drift.events import DAY, KIND, NOTHING, Events, Goods, gaps

MONTHS: Final = 6
DAYS: Final = 70
"""The last days of the shop, which streams are drawn from."""
_COPIES: Final = 8
"""Most copies of a user on one day."""
_PLAN: Final = Plan(purchases=600_000, trails=1.0, looks=700_000, sessions=220_000)
_KINDS: Final = np.array([KIND[name] for name in KINDS])
_USERS, _ITEMS = 40_000, 5_000


@dataclass(frozen=True)
class Shop:
    """A shop's days to draw from."""

    rows: Array
    """Events (`shop_rows.EVENT`) by time."""
    user_since: Array
    item_since: Array
    gap: Array
    categories: Array
    prices: Array
    """What a piece of each item costs."""
    first_day: int

    @classmethod
    def made(cls, seed: int) -> "Shop":
        """The last days of some months of a shop."""
        shop = world(_USERS, _ITEMS, seed, MONTHS)
        rows = np.concatenate([part.rows for part in simulate(shop, _PLAN, seed)])
        rows = rows[np.argsort(rows["at"], kind="stable")]
        first = int(rows["at"][-1]) // DAY + 1 - DAYS
        since = [_first(rows[name], rows["at"], size) for name, size in (("user", _USERS), ("item", _ITEMS))]
        apart = gaps(rows["user"], rows["item"], rows["at"], _KINDS[rows["kind"]])
        late = rows["at"] >= first * DAY
        gap, rows = apart[late], rows[late]
        return cls(
            rows, since[0][rows["user"]], since[1][rows["item"]], gap, shop.catalogue.category, _prices(rows), first
        )


def _first(codes: Array, at: Array, size: int) -> Array:
    found = np.full(size, np.iinfo(np.int64).max)
    np.minimum.at(found, codes, at)
    return found


def _prices(rows: Array) -> Array:
    sold = rows[rows["kind"] == PURCHASE]
    sums = [np.bincount(sold["item"], sold[name], _ITEMS) for name in ("value", "quantity")]
    return np.where(sums[1] > 0, sums[0], 1.0) / np.where(sums[1] > 0, sums[1], 1.0)


@dataclass
class Day:
    """Columns of a day while it is made; a shift changes them."""

    rows: Array
    user_since: Array
    item_since: Array
    gap: Array
    often: Array
    """[users] how often each user comes."""
    random: np.random.Generator
    known_until: int
    """When the champion has learned."""
    prices: Array
    """[items] codes beyond them are new items."""

    @property
    def items(self) -> int:
        """How many items there are."""
        return len(self.prices)

    def keep(self, which: Array) -> None:
        """Drop the other events."""
        for name in ("rows", "user_since", "item_since", "gap"):
            setattr(self, name, getattr(self, name)[which])


@dataclass
class Stream:
    """Day after day of the same shop, from day 0 on."""

    shop: Shop
    seed: int
    known_days: int
    """The days that a champion knows."""
    days: dict[int, Events] = field(default_factory=dict)

    def day(self, number: int, shift: Any = None) -> Events:
        """The events of a day, by time; changed by a shift where one is given."""
        random = np.random.default_rng([self.seed, number])
        same = np.arange(number % 7, DAYS, 7)
        source = int(random.choice(same))
        begin = (self.shop.first_day + source) * DAY
        first, last = np.searchsorted(self.shop.rows["at"], [begin, begin + DAY])
        moved = (number - source) * DAY
        rows = self.shop.rows[first:last].copy()
        rows["at"] += moved
        often = np.minimum(random.poisson(1.0, _USERS), _COPIES)
        known_until = (self.shop.first_day + self.known_days) * DAY
        shop = self.shop
        user_since, item_since = shop.user_since[first:last] + moved, shop.item_since[first:last] + moved
        made = Day(rows, user_since, item_since, shop.gap[first:last].copy(), often, random, known_until, shop.prices)
        if shift is not None:
            shift(made, np.random.default_rng([self.seed, 7]))
        return _events(made, number)

    def whole(self, until: int) -> Events:
        """Days 0 to `until` (not included), unchanged."""
        return joined([self.days.setdefault(number, self.day(number)) for number in range(until)])


def _events(day: Day, number: int) -> Events:
    """The day's events, each as often as its user comes, as somebody of his own each time."""
    times = day.often[day.rows["user"]]
    at = np.repeat(np.arange(len(day.rows)), times)
    copy = np.arange(len(at)) - np.repeat(np.cumsum(times) - times, times)
    rows = day.rows[at]
    user = rows["user"].astype(np.int64) + copy * _USERS
    listed = rows["shown"] >= 0
    session = (rows["session"] * _COPIES + copy) * 1_000 + number
    return Events(
        user, rows["item"].astype(np.int64), _KINDS[rows["kind"]], rows["at"], session,
        rows["quantity"].astype(np.float64),
        rows["value"], np.isfinite(rows["value"]), rows["position"].astype(np.int64), listed,
        day.user_since[at], day.item_since[at], day.gap[at],
    )  # fmt: skip


def joined(days: list[Events]) -> Events:
    """Several days as one."""
    columns: Any = (np.concatenate(parts) for parts in zip(*days, strict=True))
    return Events(*columns)


def goods(shop: Shop) -> Goods:
    """Its items, and as many new ones."""
    category = np.concatenate([shop.categories, shop.categories]).astype(np.int64)
    vectors = np.eye(int(category.max()) + 1, dtype=np.float32)[category]
    return Goods(category, vectors)


USERS_OF_STREAMS: Final = _USERS * _COPIES


def reshuffled(share: float) -> Any:
    """Part of the items trade places: what sold best is any item now."""

    def shift(day: Day, once: np.random.Generator) -> None:
        moved = np.flatnonzero(once.random(day.items) < share)
        place = np.arange(day.items)
        place[moved] = once.permutation(moved)
        now = place[day.rows["item"]]
        day.rows["value"] *= day.prices[now] / day.prices[day.rows["item"]]
        day.gap = np.where(now == day.rows["item"], day.gap, NOTHING)
        day.rows["item"] = now

    return shift


def new_items(share: float) -> Any:
    """Part of what people turn to has never been there before."""

    def shift(day: Day, once: np.random.Generator) -> None:
        replaced = once.random(day.items) < share
        now = replaced[day.rows["item"]]
        day.rows["item"] += now * day.items
        day.item_since = np.where(now, day.known_until, day.item_since)
        day.gap = np.where(now, NOTHING, day.gap)

    return shift


def cold_users(times: float) -> Any:
    """So many times as many people as before whom nobody knows."""

    def shift(day: Day, _once: np.random.Generator) -> None:
        new = np.unique(day.rows["user"][day.user_since >= day.known_until])
        day.often[new] = np.minimum(day.random.poisson(times, len(new)), _COPIES)

    return shift


def fewer_clicks(share: float) -> Any:
    """Part of the clicks on lists are not made, nor what they led to."""

    def shift(day: Day, _once: np.random.Generator) -> None:
        led = (day.rows["shown"] >= 0) & (day.rows["kind"] > 0)
        number = day.rows["shown"] * day.items + day.rows["item"]
        clicks = np.unique(number[led])
        lost = clicks[day.random.random(len(clicks)) < share]
        day.keep(~(led & np.isin(number, lost)))

    return shift


def nulls(share: float) -> Any:
    """Part of the purchases have no value."""

    def shift(day: Day, _once: np.random.Generator) -> None:
        empty = (day.rows["kind"] == PURCHASE) & (day.random.random(len(day.rows)) < share)
        day.rows["value"][empty] = np.nan

    return shift


def other_unit(factor: float) -> Any:
    """Money is in another unit."""

    def shift(day: Day, _once: np.random.Generator) -> None:
        day.rows["value"] *= factor

    return shift

"""The last weeks of a simulated shop, from which stationary days are drawn."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.shop.event_rows import KINDS, PURCHASE
from benchmarks.shop.sampling import Array
from benchmarks.shop.simulation import Plan, simulate, world
from models.monitoring.drift.signals.event_columns import DAY, KIND, ItemTable, gaps

DAYS: Final = 70
"""Last days of the shop, from which streams are drawn."""
USERS: Final = 40_000
CODES: Final = np.array([KIND[name] for name in KINDS])
"""Codes of event kinds, by the codes of the simulated shop."""
_MONTHS: Final = 6
_ITEMS: Final = 5_000
_PLAN: Final = Plan(purchases=600_000, trails=1.0, views=700_000, sessions=220_000)


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

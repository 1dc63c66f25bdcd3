"""Represents events as numbers during the simulation, and as the table that is written."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.shop.calendar import DAY
from benchmarks.shop.items import CURRENCY
from benchmarks.shop.sampling import Array, chance

KINDS: Final = ("impression", "click", "view", "add_to_cart", "purchase")
IMPRESSION, CLICK, VIEW, CART, PURCHASE = range(len(KINDS))
PLACEMENTS: Final = ("home", "item", "cart")
NONE: Final = -1
"""In the columns `place` and `shown`: not on a recommended list."""
_LATE: Final = 0.02
_LATEST: Final = 3 * DAY

EVENT: Final = np.dtype(
    {
        "names": ["kind", "user", "item", "at", "session", "quantity", "value", "place", "position", "shown"],
        "formats": ["i1", "i4", "i4", "i8", "i8", "f4", "f8", "i1", "i1", "i8"],
    }
)
"""`place` and `shown` are the placement and the number of the list; positions count from 1."""


def blank(kind: int, number: int) -> Array:
    """Return so many events of a kind, without quantity, value and list."""
    rows = np.zeros(number, dtype=EVENT)
    rows["kind"], rows["place"], rows["shown"] = kind, NONE, NONE
    rows["quantity"], rows["value"] = np.nan, np.nan
    return rows


def derived(rows: Array, kind: int, seconds: Array) -> Array:
    """Return the events of another kind for the same user and item, so many seconds later; only sales have a value."""
    later = rows.copy()
    later["kind"] = kind
    later["at"] += seconds.astype("int64")
    if kind in (VIEW, CLICK):
        later["quantity"], later["value"] = np.nan, np.nan
    return later


@dataclass(frozen=True)
class Writing:
    """Turns numbers into the columns of a file of events."""

    users: pa.Array
    items: pa.Array

    @property
    def schema(self) -> pa.Schema:
        """The columns of a file of events."""
        return self.table(blank(PURCHASE, 0), 0, np.random.default_rng(0)).schema

    def table(self, rows: Array, first: int, random: np.random.Generator) -> pa.Table:
        """Return the events of `rows`, which are in order of time; the first id has the number `first`."""
        at = np.ascontiguousarray(rows["at"])
        money = rows["kind"] >= CART
        return pa.table(
            {
                "event_id": _numbered("e", np.arange(first, first + len(rows))),
                "user_id": self.users.take(_plain(rows, "user")),
                "session_id": _numbered("s", rows["session"]),
                "item_id": self.items.take(_plain(rows, "item")),
                "event_type": pa.array(KINDS).take(_plain(rows, "kind")),
                "occurred_at": _moments(at),
                "received_at": _moments(at + _delays(random, len(rows))),
                "quantity": pa.array(rows["quantity"].astype("float64"), mask=~money),
                "value": pa.array(np.ascontiguousarray(rows["value"]), mask=~money),
                "currency": pa.array([CURRENCY]).take(pa.array(np.zeros(len(rows), dtype="int8"), mask=~money)),
                "placement": pa.array(PLACEMENTS).take(_known(rows, "place")),
                "position": _known(rows, "position", missing=0),
                "recommendation_id": _numbered("r", rows["shown"]),
            }
        )


def _plain(rows: Array, name: str) -> pa.Array:
    return pa.array(np.ascontiguousarray(rows[name]))


def _known(rows: Array, name: str, missing: int = NONE) -> pa.Array:
    values = rows[name].astype("int32")
    return pa.array(values, mask=values == missing)


def _numbered(letter: str, numbers: Any) -> pa.Array:
    """Return ids such as e12; null for NONE."""
    numbers = np.ascontiguousarray(numbers)
    if (numbers == NONE).all():
        return pa.nulls(len(numbers), pa.string())
    words = pa.array(numbers, mask=numbers == NONE).cast(pa.string())
    return pc.binary_join_element_wise(letter, words, "")


def _moments(seconds: Array) -> pa.Array:
    return pa.array(seconds * 1_000_000).cast(pa.timestamp("us", "UTC"))


def _delays(random: np.random.Generator, number: int) -> Array:
    """Return the seconds until an event is known: a few, or hours to days for one in fifty."""
    late = chance(random, _LATE, number)
    usual = random.exponential(3.0, number)
    usual[late] = np.minimum(random.exponential(12 * 3600.0, int(late.sum())), _LATEST)
    return usual.astype("int64")

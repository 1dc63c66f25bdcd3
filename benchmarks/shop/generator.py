"""Simulates a fashion retailer of any size as Parquet files: two years of purchases and optional clicks.

The files match `benchmarks/shop/mapping.toml`: `tailorbird ingest benchmarks/shop/mapping.toml FOLDER`.
"""

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow.parquet as pq

from benchmarks.shop.event_rows import PURCHASE, Writing
from benchmarks.shop.impressions import LENGTH, LISTS
from benchmarks.shop.simulation import Happened, Plan, delays, simulate, world

PURCHASES: Final = 31_000_000
USERS: Final = 1_370_000
ITEMS: Final = 105_000
"""Two years of a fashion retailer. Fewer purchases have proportionally fewer users, and (share)^0.45 of the items:
1 million from 44,194 users and 22,391 items.
"""
_ITEMS_GROW: Final = 0.45
_FEWEST: Final = 200
_AT_ONCE: Final = 500_000
_FOLLOWED: Final = 1.2
"""Events per list and item on it, including its clicks, views, carts and purchases."""


class Shop(NamedTuple):
    """The files and counts of a written shop."""

    users: int
    items: int
    purchases: int
    events: int
    """Number of events of all kinds, including purchases."""
    files: list[Path]
    """The events, one file per month: events-2023-01.parquet and so on, in order of time."""


def write(folder: Path, purchases: int, seed: int, clicks: float = 0.0) -> Shop:
    """Write `items.parquet`, `users.parquet` and the events of 24 months from January 2023 on.

    Purchases after a click on a list (some hundredths) are extra. `clicks` is the number of other events for each
    purchase: up to 2 its own view and cart; of the rest half are views without a purchase (and some carts), half
    impressions of recommended lists and their consequences. The same seed and sizes give the same bytes, by the same
    versions of numpy and pyarrow. Memory grows with the events of a week: 0.5 GB at 31 million purchases, 1 GB with
    five clicks for each.
    """
    share = purchases / PURCHASES
    users = max(_FEWEST, round(USERS * share))
    items = max(_FEWEST, round(ITEMS * share**_ITEMS_GROW))
    folder.mkdir(parents=True, exist_ok=True)
    shop = world(users, items, seed)
    pq.write_table(shop.catalogue.table(shop.periods[-1].number), folder / "items.parquet")
    pq.write_table(shop.people.table(), folder / "users.parquet")
    writing = Writing(shop.people.names(), shop.catalogue.names())
    files, events, bought = [], 0, 0
    for month, parts in groupby(simulate(shop, _plan(purchases, clicks), seed), lambda part: part.period.name):
        files.append(folder / f"events-{month}.parquet")
        more = _month(files[-1], parts, writing, events, seed)
        events, bought = events + more[0], bought + more[1]
    return Shop(users, items, bought, events, files)


def _plan(purchases: int, clicks: float) -> Plan:
    trails = min(1.0, clicks / 2)
    extra_views = purchases * max(0.0, clicks - 2) / 2
    return Plan(
        purchases, trails, views=round(extra_views / 1.15), sessions=round(extra_views / (LENGTH * LISTS * _FOLLOWED))
    )


def _month(path: Path, parts: Iterable[Happened], writing: Writing, first: int, seed: int) -> tuple[int, int]:
    """Write one file; return the number of its events and purchases."""
    events, bought = 0, 0
    words = [name for name in writing.schema.names if name not in ("event_id", "occurred_at", "received_at")]
    with pq.ParquetWriter(path, writing.schema, use_dictionary=words) as file:
        for period, rows, _ in parts:
            random = delays(seed, period)
            for start in range(0, len(rows), _AT_ONCE):
                file.write_table(writing.table(rows[start : start + _AT_ONCE], first + events + start, random))
            events, bought = events + len(rows), bought + int((rows["kind"] == PURCHASE).sum())
    return events, bought

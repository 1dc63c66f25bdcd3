"""Simulates a large shop for scoring: factors of users and items, a catalogue, and purchases."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import Connection, insert, text

from benchmarks.installation import promote
from infra.database.bulk_copy import copy_table
from infra.database.schema.schema import ingest_batches
from infra.installation import Installation
from models import columns
from models.recommenders.als import Config, ImplicitALS
from models.recommenders.explanations.evidence import CategoryReasons, TopCategories

DIMENSIONS: Final = 64
ITEMS: Final = 100_000
SEEN: Final = 30
CATEGORIES: Final = 200
K: Final = 50
_AT: Final = datetime(2026, 1, 15, tzinfo=UTC)
_WRITTEN: Final = 100_000
PLACEMENTS: Final = f"""
[seen]
k = {K}
policy = "discover"

[capped]
k = {K}
policy = "discover"
rules.cap = {{ category = 5 }}
"""


def factors(users: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Return factors of users [m, 64] and items [n, 64], and the category of each item.

    Items lie around the centre of their category and users near some categories. So the best items of a user are of few
    categories, and caps have an effect.
    """
    random = np.random.default_rng(seed)
    middles = random.normal(size=(CATEGORIES, DIMENSIONS)).astype(np.float32)
    category = random.integers(0, CATEGORIES, ITEMS)
    items = middles[category] * np.float32(0.5) + random.normal(size=(ITEMS, DIMENSIONS)).astype(np.float32)
    likes = random.integers(0, CATEGORIES, (users, 3))
    people = random.normal(size=(users, DIMENSIONS)).astype(np.float32)
    for liked in likes.T:
        people += middles[liked] * np.float32(0.3)
    return people, items, category


def keys_of(users: int) -> NDArray[np.str_]:
    """Return [m] keys with the length of real user keys, ascending."""
    return np.array([f"{user:064x}" for user in range(users)], dtype=np.str_)


def seen_by(users: int, seed: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield users with 30 items each, popular ones more often, a part of the users at a time."""
    random = np.random.default_rng(seed)
    for start in range(0, users, _WRITTEN):
        user = np.repeat(np.arange(start, min(start + _WRITTEN, users)), SEEN)
        yield user, (ITEMS * random.random(len(user)) ** 2).astype(np.int64)


def build(installation: Installation, users: int, seed: int) -> None:
    """Fill an empty installation: catalogue, users with consent, purchases in the lake, a promoted champion."""
    people, goods, category = factors(users, seed)
    keys, ids = keys_of(users), np.array([f"item {item:06}" for item in range(ITEMS)], dtype=np.str_)
    with installation.engine.begin() as connection:
        _catalogue(connection, ids, category)
        _people(connection, keys)
        done = {"batch_id": "b", "dataset": "events", "source": "s", "location": "l", "status": "committed"}
        connection.execute(insert(ingest_batches).values(done | {"consent": "given"}))
        connection.execute(text("ANALYZE"))
    for chunk, (user, item) in enumerate(seen_by(users, seed)):
        installation.lake.append_events(_events(keys[user], ids[item], chunk), "b", chunk)
    gram, mean = goods.T @ goods, people.mean(axis=0)
    model = ImplicitALS(Config(factors=DIMENSIONS), keys, ids, people, goods, gram, mean, no_reasons(keys, ids))
    promote(model, np.ones(len(ids), dtype=np.float32), "v1")
    Path(installation.settings.placements).write_text(PLACEMENTS)


def _catalogue(connection: Connection, ids: NDArray[np.str_], category: NDArray[np.int64]) -> None:
    n, paths = len(ids), [f"aisle {number}" for number in category.tolist()]
    columns = {"item_id": ids.tolist(), "title": ids.tolist(), "category": paths, "attributes": ["{}"] * n}
    copy_table(connection, "items", pa.table(columns | {"available": [True] * n, "batch_id": ["b"] * n}))


def _people(connection: Connection, keys: NDArray[np.str_]) -> None:
    n = len(keys)
    users_rows = {"user_key": keys.tolist(), "attributes": ["{}"] * n, "consent": [True] * n}
    copy_table(connection, "users", pa.table(users_rows | {"consent_source": ["asked"] * n, "batch_id": ["b"] * n}))


def _events(keys: NDArray[np.str_], items: NDArray[np.str_], chunk: int) -> pa.Table:
    n = len(keys)
    ids = [f"{chunk}-{row}" for row in range(n)]
    moment = pa.array([_AT] * n, pa.timestamp("us", tz="UTC"))
    rows = {columns.EVENT_ID: ids, columns.USER_KEY: keys.tolist(), columns.ITEM_ID: items.tolist()}
    rows |= {columns.EVENT_TYPE: ["purchase"] * n, columns.OCCURRED_AT: moment, columns.SESSION_ID: ids}
    rows |= {columns.RECEIVED_AT: moment, columns.SOURCE: ["s"] * n}
    return pa.table(rows | {columns.BATCH_ID: ["b"] * n, columns.MONTH: ["2026-01"] * n})


def no_reasons(users: NDArray[np.str_], items: NDArray[np.str_]) -> CategoryReasons:
    """Return reasons that claim nothing: no item has a category."""
    own = TopCategories(np.full((len(users), 1), -1, dtype=np.int32), np.zeros((len(users), 1), dtype=np.uint16))
    return CategoryReasons(np.empty(0, np.str_), np.full(len(items), -1, dtype=np.int32), own, np.full(len(items), ""))

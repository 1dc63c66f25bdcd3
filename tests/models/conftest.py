"""A small shop with two tastes, made by seed: half the shoppers buy fruit, half buy tools, all buy bags."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from models.datasets import training_data
from models.datasets.dataset import Dataset
from models.datasets.training_data import TrainingData, build
from models.recommenders.baselines import most_popular

DAY = 86_400
CUT = 200 * DAY
CUTS = {"validation_from": 160 * DAY, "test_from": CUT, "as_of": 230 * DAY}


class Shop(NamedTuple):
    """The three tables a data set consists of."""

    interactions: pa.Table
    users: pa.Table
    items: pa.Table


def make_shop(seed: int, n_users: int = 60, baskets: int = 12) -> Shop:
    """Items 0-19 are fruit, 20-39 tools, 40-44 bags; the even users like fruit and the odd ones tools."""
    random = np.random.default_rng(seed)
    rows = []
    for user in range(n_users):
        usual = 20 * (user % 2) + random.choice(20, size=8, replace=False)
        for basket in range(baskets):
            at = int(random.integers(20 * DAY, 230 * DAY))
            picks = {*random.choice(usual, size=3), 40 + int(random.integers(5))}
            rows += [(f"u{user:03}", f"i{item:02}", at, 1.0, 2.5, f"s{user}-{basket}") for item in sorted(picks)]
    names = ("user_key", "item_id", "occurred_at", "quantity", "value", "session_id")
    kinds = ["SHOP|FRUIT|SOFT"] * 20 + ["SHOP|Tools"] * 20 + ["BAGS"] * 5
    users = {
        "user_key": [f"u{user:03}" for user in range(n_users)],
        "age": ["young" if user % 3 else None for user in range(n_users)],
        "income": [float(user) for user in range(n_users)],
    }
    items = {
        "item_id": [f"i{item:02}" for item in range(45)],
        "title": [f"Item {item}" for item in range(45)],
        "category": kinds,
        "brand": ["National" if item % 4 else "Private" for item in range(45)],
        "price": [2.5] * 45,
        "available": [True] * 45,
    }
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    interactions = pa.table(columns | {"received_at": columns["occurred_at"]})
    return Shop(interactions, pa.table(users), pa.table(items))


@pytest.fixture(scope="session")
def shop() -> Shop:
    return make_shop(seed=1)


@pytest.fixture(scope="session")
def data(shop: Shop) -> TrainingData:
    return Dataset(CUTS, *shop).training_data(CUT)


@pytest.fixture(scope="session")
def targets(shop: Shop, data: TrainingData) -> Any:
    """Purchases in the 30 days after the cut."""
    return training_data.targets(shop.interactions, data, data.cut, data.cut + 30 * DAY)


@pytest.fixture(scope="session")
def popularity(data: TrainingData) -> NDArray[np.float32]:
    return most_popular.popularity(data)


@pytest.fixture(scope="session")
def small() -> Callable[..., TrainingData]:
    """Training data from (user, item, day, session) rows, cut at day 100; items may be given categories."""

    def make(rows: list[tuple[str, str, float, str]], categories: dict[str, str] | None = None) -> TrainingData:
        user, item, day, session = (list(column) for column in zip(*rows, strict=True))
        interactions = pa.table(
            {
                "user_key": user,
                "item_id": item,
                "occurred_at": [int(d * DAY) for d in day],
                "quantity": [1.0] * len(rows),
                "value": [1.0] * len(rows),
                "session_id": session,
            }
        )
        ids = sorted(set(item))
        paths = [(categories or {}).get(i) for i in ids]
        catalogue = {"item_id": ids, "title": ids, "category": pa.array(paths, pa.string())}
        catalogue |= {"brand": ids, "price": [1.0] * len(ids), "available": [True] * len(ids)}
        users = pa.table({"user_key": sorted(set(user))})
        return build(interactions, users, pa.table(catalogue), 100 * DAY)

    return make

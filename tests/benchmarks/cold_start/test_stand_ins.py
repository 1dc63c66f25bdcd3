from collections.abc import Callable

import numpy as np
import pyarrow as pa

from benchmarks.cold_start.stand_ins import category_popularity, latest_items
from models.datasets.training_data import TrainingData
from tests.models.conftest import small as small


def test_clicks_are_the_last_different_items_of_each_user() -> None:
    user, item = ["a", "a", "a", "a", "b", "c"], ["x", "y", "x", "z", "x", "x"]
    rows = pa.table({"user_key": user, "item_id": item, "occurred_at": [1, 2, 3, 0, 9, 9]})
    result = latest_items(rows, np.array(["a", "b"]), 2)
    assert list(zip(*result.to_pydict().values(), strict=True)) == [("a", "x"), ("a", "y"), ("b", "x")]


def test_a_new_item_is_as_popular_as_those_of_its_category_on_average(small: Callable[..., TrainingData]) -> None:
    rows = [("a", "x", 100, "1"), ("b", "x", 100, "2"), ("b", "y", 72, "3"), ("b", "z", 100, "4")]
    data = small([(u, i, d - 1e-9, s) for u, i, d, s in rows], {"x": "FOOD|MILK", "y": "FOOD|MILK", "z": "TOYS"})
    paths = np.array(["FOOD|MILK", "FOOD|BREAD", "TOYS|BALLS|RED", "", "TOOLS"])
    # Two baskets with x now, and one with y a half-life ago: 2.5 over two items; one basket with z.
    result = category_popularity(data, paths, half_life_days=28)
    np.testing.assert_allclose(result, [1.25, 1.25, 1, 0, 0], rtol=1e-5)

import numpy as np
import pyarrow as pa
import pytest

from models.datasets.holdout import targets
from models.datasets.training_data import TrainingData
from models.evaluation.diagnostics.cold_start import category_popularity, latest_items, of_new_items, of_strangers

DAY = 86_400


@pytest.fixture(scope="module")
def data(small) -> TrainingData:
    rows = [("a", "x", 100, "1"), ("b", "x", 100, "2"), ("b", "y", 72, "3"), ("b", "z", 100, "4")]
    return small([(u, i, d - 1e-9, s) for u, i, d, s in rows], {"x": "FOOD|MILK", "y": "FOOD|MILK", "z": "TOYS"})


def test_strangers_are_measured_on_what_they_buy_of_the_known_items(data: TrainingData) -> None:
    frame = of_strangers(data, pa.table({"user_key": ["n", "m"]}))
    assert frame.users.tolist() == ["m", "n"]
    assert frame.history().nnz == 0
    rows = {"user_key": ["n", "a", "n"], "item_id": ["y", "y", "new"], "occurred_at": [101 * DAY] * 3}
    found = targets(pa.table(rows), frame, 100 * DAY, 102 * DAY)
    assert found.toarray().tolist() == [[False, False, False], [False, True, False]]


def test_only_items_of_the_catalogue_without_history_are_new(data: TrainingData) -> None:
    catalogue = {"item_id": ["z", "q", "p"], "title": ["Z", None, "P"], "category": [None, "TOYS", None]}
    frame = of_new_items(data, pa.table(catalogue | {"available": pa.array([True, None, False])}))
    assert frame.items.tolist() == ["p", "q"]
    assert frame.item_titles.tolist() == ["P", ""]
    assert frame.item_categories.tolist() == ["", "TOYS"]
    assert frame.available.tolist() == [False, True]
    assert frame.history().shape == (2, 2)


def test_clicks_are_the_last_different_items_of_each_user() -> None:
    user, item = ["a", "a", "a", "a", "b", "c"], ["x", "y", "x", "z", "x", "x"]
    rows = pa.table({"user_key": user, "item_id": item, "occurred_at": [1, 2, 3, 0, 9, 9]})
    found = latest_items(rows, np.array(["a", "b"]), 2)
    assert list(zip(*found.to_pydict().values(), strict=True)) == [("a", "x"), ("a", "y"), ("b", "x")]


def test_a_new_item_is_as_popular_as_those_of_its_category_on_average(data: TrainingData) -> None:
    paths = np.array(["FOOD|MILK", "FOOD|BREAD", "TOYS|BALLS|RED", "", "TOOLS"])
    # Two baskets with x now, and one with y a half-life ago: 2.5 over two items; one basket with z.
    found = category_popularity(data, paths, half_life_days=28)
    np.testing.assert_allclose(found, [1.25, 1.25, 1, 0, 0], rtol=1e-5)

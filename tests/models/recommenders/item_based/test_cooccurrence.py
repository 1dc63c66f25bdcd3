import numpy as np
import pytest
from scipy import sparse

from models.datasets.training_data import TrainingData
from models.recommenders.item_based.cooccurrence import as_sets, in_order, strongest


def ones(data: TrainingData) -> np.ndarray:
    return np.ones(len(data.user), dtype=np.float32)


def test_later_items_count_more_than_earlier_ones_and_near_ones_more_than_far_ones(small) -> None:
    data = small([("a", "x", 1, "1"), ("a", "y", 2, "2"), ("a", "z", 3, "3")])
    pairs = in_order(data, ones(data), window=2, lag_exponent=1, backward=0.25).toarray()
    np.testing.assert_allclose(pairs, [[0, 1, 0.5], [0.25, 0, 1], [0.125, 0.25, 0]])


def test_order_is_that_of_time_and_not_of_session_names(small) -> None:
    data = small([("a", "x", 2, "1"), ("a", "y", 1, "2")])
    assert in_order(data, ones(data), 1, 1, 0).toarray().tolist() == [[0, 0], [1, 0]]


def test_in_one_basket_nothing_comes_first(small) -> None:
    data = small([("a", "x", 1, "1"), ("a", "y", 1, "1")])
    assert in_order(data, ones(data), 5, 1, 0.25).toarray().tolist() == [[0, 1], [1, 0]]


def test_pairs_end_at_the_window_and_at_the_user(small) -> None:
    data = small([("a", "x", 1, "1"), ("a", "y", 2, "2"), ("a", "z", 3, "3"), ("b", "w", 4, "4")])
    pairs = in_order(data, ones(data), 1, 1, 0)
    assert [*zip(*(data.items[where].tolist() for where in pairs.nonzero()), strict=True)] == [("x", "y"), ("y", "z")]


def test_a_pair_has_the_weight_of_its_later_event(small) -> None:
    data = small([("a", "x", 1, "1"), ("a", "y", 2, "2")])
    assert in_order(data, np.array([3, 5], np.float32), 1, 1, 0.5).toarray().tolist() == [[0, 5], [2.5, 0]]


def test_an_item_is_no_neighbour_of_itself(small) -> None:
    data = small([("a", "x", 1, "1"), ("a", "x", 2, "2"), ("a", "y", 3, "3")])
    assert in_order(data, ones(data), 2, 0, 1).toarray().tolist() == [[0, 2], [2, 0]]


def test_sets_are_multiplied_out_and_scaled_by_row_and_column() -> None:
    weights = sparse.csr_array(np.array([[1, 2, 0], [3, 0, 1]], dtype=np.float32))
    result = as_sets(weights, 2, np.array([1, 10, 100], np.float32), np.array([1, 2, 3], np.float32))
    assert result.toarray().tolist() == [[0, 4, 9], [20, 0, 0], [300, 0, 0]]
    assert result.dtype == np.float32


def test_blocks_of_rows_give_what_one_product_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = sparse.random_array((40, 30), density=0.2, rng=np.random.default_rng(5), format="csr", dtype=np.float32)
    scale = np.ones(30, dtype=np.float32)
    expected = (weights.T @ weights).toarray()
    np.fill_diagonal(expected, 0)
    monkeypatch.setattr("models.recommenders.item_based.cooccurrence._PRODUCTS", 20)
    np.testing.assert_allclose(as_sets(weights, 30, scale, scale).toarray(), expected, rtol=1e-5)


def test_only_the_strongest_of_a_row_are_kept() -> None:
    matrix = sparse.csr_array(np.array([[5, 1, 4, 3], [0, 2, 0, 0], [0, 0, 0, 0]], dtype=np.float32))
    assert strongest(matrix, 2).toarray().tolist() == [[5, 0, 4, 0], [0, 2, 0, 0], [0, 0, 0, 0]]

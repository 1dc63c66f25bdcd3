import numpy as np
import pytest
import xgboost

from models.ranking.boosted_trees import for_whole_rows, twice


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """Numbers of every size, a third of them missing and some infinite."""
    random = np.random.default_rng(2)
    made = random.lognormal(0, 4, (5000, 6)).astype(np.float32) * random.choice([-1, 1], (5000, 6)).astype(np.float32)
    made[random.random(made.shape) < 0.3] = np.nan
    made[:5] = [np.inf, -np.inf, 0, np.inf, -np.inf, np.nan]
    return made


def test_trees_for_whole_rows_predict_exactly_what_they_predicted_for_rows_with_holes(rows: np.ndarray) -> None:
    known = np.isfinite(rows) | np.isnan(rows)
    learned = rows[known.all(axis=1)]
    labels = (np.nan_to_num(learned[:, 0], nan=3) > np.nan_to_num(learned[:, 1], nan=-3)).astype(np.float32)
    labels[np.isnan(learned[:, 2])] = 1
    matrix = xgboost.QuantileDMatrix(learned, label=labels)
    booster = xgboost.train({"objective": "binary:logistic", "max_leaves": 15, "max_depth": 0}, matrix, 50)
    trees = booster.trees_to_dataframe()
    inner = trees[trees["Feature"] != "Leaf"]
    assert set(inner["Missing"] == inner["Yes"]) == {True, False}
    expected = booster.inplace_predict(rows, predict_type="margin")
    np.testing.assert_array_equal(for_whole_rows(booster).inplace_predict(twice(rows), predict_type="margin"), expected)


def test_no_rows_are_no_error() -> None:
    assert twice(np.empty((0, 3), dtype=np.float32)).shape == (0, 6)

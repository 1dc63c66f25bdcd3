import subprocess
import sys

import numpy as np
import pytest
import xgboost
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from models.ranking.ensemble import BlendedRanker, BoostedTrees, Config, Networks, for_whole_rows, twice
from models.ranking.logistic import Config as LogisticConfig
from models.ranking.logistic import Logistic, sigmoid

CODE = """
import sys
from models.ranking.xgboost_library import xgboost

xgboost().Booster()
assert not {"sklearn", "scipy.stats", "scipy.special"} & set(sys.modules)
import sklearn.metrics
assert xgboost() is sys.modules["xgboost"]
"""


@pytest.fixture(scope="module")
def examples() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three columns, the last of which is known of every second row."""
    random = np.random.default_rng(5)
    rows = random.normal(size=(3000, 3)).astype(np.float32)
    labels = (rows[:, 0] * rows[:, 1] + random.normal(size=3000) > 0.5).astype(np.float32)
    rows[::2, 2] = np.nan
    return rows, labels, np.ones(3000, dtype=np.float32)


def test_every_booster_and_every_network_has_one_voice(examples) -> None:
    rows = examples[0]
    ranker = BlendedRanker.fit(*examples, Config(boosters=1, networks=3), seed=0)
    networks = ranker.networks.log_odds(ranker.trees.first.standard(rows))
    expected = sigmoid((ranker.trees.log_odds(rows) + 3 * networks) / 4)
    np.testing.assert_allclose(ranker.probabilities(rows), expected, atol=1e-6)


def test_without_networks_the_trees_decide_alone(examples) -> None:
    ranker = BlendedRanker.fit(*examples, Config(networks=0), seed=0)
    trees = BoostedTrees.fit(*examples, Config(), seed=0)
    np.testing.assert_array_equal(ranker.probabilities(examples[0]), sigmoid(trees.log_odds(examples[0])))
    assert ranker.state().keys() == trees.state().keys()
    assert Networks.from_state(ranker.state(), 3).count == 0


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


@pytest.fixture(scope="module")
def quarters() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether a point lies in two of the four quarters: no straight line separates them."""
    rows = np.random.default_rng(5).normal(size=(6000, 2)).astype(np.float32)
    return rows, (rows[:, 0] * rows[:, 1] > 0).astype(np.float32), np.ones(6000, dtype=np.float32)


@pytest.fixture(scope="module")
def networks(quarters) -> Networks:
    return Networks.fit(*quarters, Config(), seed=0)


def test_networks_learn_what_no_line_separates(quarters, networks: Networks) -> None:
    rows, labels, _ = quarters
    assert ((networks.log_odds(rows) > 0) == labels).mean() > 0.9


def test_their_mean_is_that_of_networks_fitted_alone(quarters, networks: Networks) -> None:
    rows, _, _ = quarters
    alone = [Networks.fit(*quarters, Config(networks=1), seed=own).log_odds(rows) for own in range(4)]
    np.testing.assert_allclose(networks.log_odds(rows), np.mean(alone, axis=0), atol=1e-4)


def test_a_row_gets_the_same_score_whatever_stands_beside_it(quarters, networks: Networks) -> None:
    rows, _, _ = quarters
    whole = networks.log_odds(rows)
    apart = np.concatenate([networks.log_odds(rows[start : start + 7]) for start in range(0, 3000, 7)])[:3000]
    np.testing.assert_array_equal(whole[:3000], apart)


def test_contributions_of_columns_of_networks_sum_to_their_log_odds(quarters, networks: Networks) -> None:
    rows = np.concatenate([quarters[0][:200], np.zeros((1, 2), dtype=np.float32), 100 * quarters[0][:5]])
    np.testing.assert_allclose(networks.contributions(rows).sum(axis=1), networks.log_odds(rows), atol=1e-4)


def test_a_row_that_stands_for_many_counts_as_many(quarters) -> None:
    rows, labels, weights = quarters
    heavier = Networks.fit(rows, labels, np.where(labels == 1, 9 * weights, weights), Config(), seed=0)
    plain = Networks.fit(rows, labels, weights, Config(), seed=0)
    assert sigmoid(heavier.log_odds(rows)).mean() > sigmoid(plain.log_odds(rows)).mean() + 0.05


def test_few_rows_are_learned_from_in_small_steps(quarters) -> None:
    rows, labels, weights = (part[:600] for part in quarters)
    few = Networks.fit(rows, labels, weights, Config(), seed=0)
    assert ((few.log_odds(rows) > 0) == labels).mean() > 0.6


def test_xgboost_is_imported_without_scikit_learn_and_other_threads_still_see_it() -> None:
    subprocess.run([sys.executable, "-c", CODE], check=True)


@pytest.fixture(scope="module")
def two_columns() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two columns, one with negative values and one without but with holes; the label follows both."""
    random = np.random.default_rng(5)
    rows = np.column_stack([random.normal(size=400), random.exponential(3, size=400)]).astype(np.float32)
    labels = (rows[:, 0] + np.log1p(rows[:, 1]) + random.normal(size=400) > 1.5).astype(np.float32)
    rows[::7, 1] = np.nan
    return rows, labels, np.ones(400, dtype=np.float32)


def test_it_answers_as_the_pipeline_of_scikit_learn_does(two_columns) -> None:
    rows, labels, weights = two_columns
    scaled = np.column_stack([rows[:, 0], np.log1p(rows[:, 1])])
    pipeline = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression(max_iter=500))
    missing = np.isnan(scaled[:, 1:])
    filled = np.hstack([pipeline[0].fit_transform(scaled), np.zeros((400, 1)), missing])
    expected = pipeline[1:].fit(filled, labels).predict_proba(filled)[:, 1]
    result = Logistic.fit(rows, labels, weights, LogisticConfig(), seed=0).probabilities(rows)
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_a_row_that_stands_for_two_counts_as_two(two_columns) -> None:
    rows, labels, weights = two_columns
    doubled = np.concatenate([rows, rows[:50]]), np.concatenate([labels, labels[:50]]), np.ones(450)
    heavier = np.where(np.arange(400) < 50, 2.0, weights)
    one = Logistic.fit(rows, labels, heavier, LogisticConfig(strength=100.0), seed=0)
    other = Logistic.fit(*doubled, LogisticConfig(strength=100.0), seed=0)
    np.testing.assert_allclose(one.probabilities(rows), other.probabilities(rows), atol=0.02)


def test_a_column_that_is_never_known_changes_nothing(two_columns) -> None:
    rows, labels, weights = two_columns
    wider = np.column_stack([rows, np.full(400, np.nan, dtype=np.float32)])
    one = Logistic.fit(rows, labels, weights, LogisticConfig(), seed=0).probabilities(rows)
    np.testing.assert_allclose(
        Logistic.fit(wider, labels, weights, LogisticConfig(), seed=0).probabilities(wider), one, atol=1e-4
    )

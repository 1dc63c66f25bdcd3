import numpy as np
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from models.ranking.logistic import Config, Logistic


@pytest.fixture(scope="module")
def examples() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two columns, one with negative values and one without but with holes; the label follows both."""
    random = np.random.default_rng(5)
    rows = np.column_stack([random.normal(size=400), random.exponential(3, size=400)]).astype(np.float32)
    labels = (rows[:, 0] + np.log1p(rows[:, 1]) + random.normal(size=400) > 1.5).astype(np.float32)
    rows[::7, 1] = np.nan
    return rows, labels, np.ones(400, dtype=np.float32)


def test_it_answers_as_the_pipeline_of_scikit_learn_does(examples) -> None:
    rows, labels, weights = examples
    scaled = np.column_stack([rows[:, 0], np.log1p(rows[:, 1])])
    pipeline = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression(max_iter=500))
    missing = np.isnan(scaled[:, 1:])
    filled = np.hstack([pipeline[0].fit_transform(scaled), np.zeros((400, 1)), missing])
    expected = pipeline[1:].fit(filled, labels).predict_proba(filled)[:, 1]
    result = Logistic.fit(rows, labels, weights, Config(), seed=0).probabilities(rows)
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_contributions_of_columns_sum_to_the_log_odds(examples) -> None:
    rows, labels, weights = examples
    model = Logistic.fit(rows, labels, weights, Config(), seed=0)
    odds = model.contributions(rows).sum(axis=1)
    np.testing.assert_allclose(1 / (1 + np.exp(-odds)), model.probabilities(rows), rtol=1e-5)


def test_a_row_that_stands_for_two_counts_as_two(examples) -> None:
    rows, labels, weights = examples
    doubled = np.concatenate([rows, rows[:50]]), np.concatenate([labels, labels[:50]]), np.ones(450)
    heavier = np.where(np.arange(400) < 50, 2.0, weights)
    one = Logistic.fit(rows, labels, heavier, Config(strength=100.0), seed=0)
    other = Logistic.fit(*doubled, Config(strength=100.0), seed=0)
    np.testing.assert_allclose(one.probabilities(rows), other.probabilities(rows), atol=0.02)


def test_a_column_that_is_never_known_changes_nothing(examples) -> None:
    rows, labels, weights = examples
    wider = np.column_stack([rows, np.full(400, np.nan, dtype=np.float32)])
    one = Logistic.fit(rows, labels, weights, Config(), seed=0).probabilities(rows)
    np.testing.assert_allclose(
        Logistic.fit(wider, labels, weights, Config(), seed=0).probabilities(wider), one, atol=1e-4
    )

import numpy as np
import pytest

from models.ranking.logistic import sigmoid
from models.ranking.neural_networks import Config, Networks


@pytest.fixture(scope="module")
def examples() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether a point lies in two of the four quarters: no straight line separates them."""
    rows = np.random.default_rng(5).normal(size=(6000, 2)).astype(np.float32)
    return rows, (rows[:, 0] * rows[:, 1] > 0).astype(np.float32), np.ones(6000, dtype=np.float32)


@pytest.fixture(scope="module")
def networks(examples) -> Networks:
    return Networks.fit(*examples, Config(), seed=0)


def test_networks_learn_what_no_line_separates(examples, networks: Networks) -> None:
    rows, labels, _ = examples
    assert ((networks.log_odds(rows) > 0) == labels).mean() > 0.9


def test_their_mean_is_that_of_networks_fitted_alone(examples, networks: Networks) -> None:
    rows, _, _ = examples
    alone = [Networks.fit(*examples, Config(networks=1), seed=own).log_odds(rows) for own in range(4)]
    np.testing.assert_allclose(networks.log_odds(rows), np.mean(alone, axis=0), atol=1e-4)


def test_a_row_gets_the_same_score_whatever_stands_beside_it(examples, networks: Networks) -> None:
    rows, _, _ = examples
    whole = networks.log_odds(rows)
    apart = np.concatenate([networks.log_odds(rows[start : start + 7]) for start in range(0, 3000, 7)])[:3000]
    np.testing.assert_array_equal(whole[:3000], apart)


def test_contributions_of_columns_sum_to_the_log_odds(examples, networks: Networks) -> None:
    rows = np.concatenate([examples[0][:200], np.zeros((1, 2), dtype=np.float32), 100 * examples[0][:5]])
    np.testing.assert_allclose(networks.contributions(rows).sum(axis=1), networks.log_odds(rows), atol=1e-4)


def test_a_column_without_a_value_in_a_row_adds_nothing(networks: Networks) -> None:
    added = networks.contributions(np.array([[1.5, 0.0]], dtype=np.float32))[0]
    assert added[1] == 0


def test_a_row_that_stands_for_many_counts_as_many(examples) -> None:
    rows, labels, weights = examples
    heavier = Networks.fit(rows, labels, np.where(labels == 1, 9 * weights, weights), Config(), seed=0)
    plain = Networks.fit(rows, labels, weights, Config(), seed=0)
    assert sigmoid(heavier.log_odds(rows)).mean() > sigmoid(plain.log_odds(rows)).mean() + 0.05


def test_a_stored_model_predicts_the_same(examples, networks: Networks) -> None:
    again = Networks.from_state(networks.state(), 2)
    np.testing.assert_array_equal(again.log_odds(examples[0]), networks.log_odds(examples[0]))
    assert Networks.from_state({}, 2).state() == {}


def test_few_rows_are_learned_from_in_small_steps(examples) -> None:
    rows, labels, weights = (part[:600] for part in examples)
    few = Networks.fit(rows, labels, weights, Config(), seed=0)
    assert ((few.log_odds(rows) > 0) == labels).mean() > 0.6

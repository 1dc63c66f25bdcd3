import numpy as np
import pytest

from models.ranking.boosted_trees import BoostedTrees
from models.ranking.ensemble import BlendedRanker, Config
from models.ranking.logistic import sigmoid


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


def test_contributions_of_columns_sum_to_the_log_odds(examples) -> None:
    ranker = BlendedRanker.fit(*examples, Config(), seed=0)
    odds = ranker.contributions(examples[0]).sum(axis=1)
    np.testing.assert_allclose(sigmoid(odds), ranker.probabilities(examples[0]), rtol=1e-3)


def test_without_networks_the_trees_decide_alone(examples) -> None:
    ranker = BlendedRanker.fit(*examples, Config(networks=0), seed=0)
    trees = BoostedTrees.fit(*examples, Config(), seed=0)
    np.testing.assert_array_equal(ranker.probabilities(examples[0]), sigmoid(trees.log_odds(examples[0])))
    assert ranker.state().keys() == trees.state().keys()


def test_a_stored_model_predicts_the_same(examples) -> None:
    ranker = BlendedRanker.fit(*examples, Config(), seed=0)
    again = BlendedRanker.from_state(ranker.state())
    np.testing.assert_array_equal(again.probabilities(examples[0]), ranker.probabilities(examples[0]))

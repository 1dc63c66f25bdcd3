import numpy as np
import pytest
from scipy import sparse, stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from models.evaluation.metrics.calibration import Pairs
from models.retrieval.candidate_sources import TopCandidates

USERS = 80


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """Return calibrated probabilities of 20 to 60 items per user."""
    random = np.random.default_rng(0)
    user = np.repeat(np.arange(USERS), random.integers(20, 60, USERS))
    score = random.beta(0.5, 4, len(user)).astype(np.float32)
    bought = random.random(len(user)) < score
    return Pairs(user, score, bought, USERS, int(bought.sum()) * 2, probabilities=True)


def test_pairs_are_what_was_named_and_whether_it_was_bought() -> None:
    items = np.array([[2, 0, -1], [1, -1, -1]], dtype=np.int32)
    ranking = TopCandidates(items, np.where(items < 0, -np.inf, 0.5).astype(np.float32))
    result = Pairs.of(ranking, sparse.csr_array(np.array([[True, True, False], [False, True, False]])), False)
    assert result.user.tolist() == [0, 0, 1]
    assert result.bought.tolist() == [False, True, True]
    assert result.targets == 3


def resampled(pairs: Pairs, figure) -> tuple[np.ndarray, float]:
    """Return scipy's interval of a figure around itself, with users resampled with all their pairs."""
    own = [np.flatnonzero(pairs.user == user) for user in range(USERS)]

    def of(users: np.ndarray) -> float:
        rows = np.concatenate([own[user] for user in users.astype(int)])
        return float(figure(pairs.bought[rows], pairs.score[rows]))

    result = stats.bootstrap((np.arange(USERS),), of, n_resamples=200, vectorized=False, method="percentile", rng=2)
    return np.array(result.confidence_interval), result.standard_error


@pytest.mark.parametrize(
    ("name", "figure"),
    [("roc_auc", roc_auc_score), ("pr_auc", average_precision_score), ("brier", brier_score_loss)],
)
def test_figures_and_their_intervals_are_those_of_scikit_learn_and_scipy(pairs: Pairs, name: str, figure) -> None:
    result = pairs.figures(seed=7)[f"pairs_{name}"]
    bounds, error = resampled(pairs, figure)
    assert result.value == pytest.approx(figure(pairs.bought, pairs.score), rel=1e-5)
    assert [result.low, result.high] == pytest.approx(bounds.tolist(), abs=0.6 * error)


def test_bins_are_those_of_scikit_learn(pairs: Pairs) -> None:
    values = pairs.reliability(seed=7, bins=8)
    bought, answer = calibration_curve(pairs.bought, pairs.score, n_bins=8, strategy="quantile")
    np.testing.assert_allclose(values.bought, bought, atol=1e-9)
    np.testing.assert_allclose(values.probability, answer, rtol=1e-5)
    assert np.mean((values.low <= values.probability) & (values.probability <= values.high)) >= 0.75


def test_the_calibration_error_is_the_mean_distance_of_the_bins(pairs: Pairs) -> None:
    values = pairs.reliability(seed=7)
    bins = np.searchsorted(np.quantile(pairs.score, np.arange(1, 15) / 15), pairs.score)
    expected = np.average(np.abs(values.probability - values.bought), weights=np.bincount(bins))
    result = pairs.figures(seed=7)["pairs_calibration_error"]
    assert result.value == pytest.approx(expected)
    assert result.value < 0.02
    squared = Pairs(pairs.user, pairs.score**0.5, pairs.bought, USERS, pairs.targets, True)
    assert squared.figures(seed=7)["pairs_calibration_error"].value > 0.1


def test_scores_that_are_no_probabilities_have_no_calibration(pairs: Pairs) -> None:
    plain = Pairs(pairs.user, pairs.score, pairs.bought, USERS, pairs.targets, probabilities=False)
    assert set(plain.figures(seed=7)) == {"pairs_roc_auc", "pairs_pr_auc"}


def test_recall_ends_at_what_was_named(pairs: Pairs) -> None:
    precision, recall = pairs.precision_recall()
    assert recall[-1] == pytest.approx(0.5)  # the other half of what they bought was never named
    assert precision[-1] == pytest.approx(pairs.bought.mean())
    assert (np.diff(recall) >= 0).all()


def test_without_anything_bought_there_are_no_figures(pairs: Pairs) -> None:
    empty = Pairs(pairs.user, pairs.score, np.zeros_like(pairs.bought), USERS, 0, True)
    assert empty.figures(seed=7) == {}

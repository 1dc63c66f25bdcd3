import math
import warnings
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse, stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from models.evaluation.metrics.beyond_accuracy import PENALTIES, ItemNovelty, concentration, rerank
from models.evaluation.metrics.beyond_accuracy import spread as spread_of
from models.evaluation.metrics.bootstrap import estimate, interval, intervals, intervals_of_ratios
from models.evaluation.metrics.calibration import Pairs
from models.evaluation.metrics.mlflow_names import first_figures, grouped, mlflow_name
from models.evaluation.metrics.ranking import METRICS, ScoreAUC, accuracy
from models.retrieval.candidate_sources import TopCandidates

PEOPLE = 80
PATHS = ["FOOD|MILK|WHOLE", "FOOD|MILK", "FOOD|BREAD", "TOYS", ""]


def naive(ranked: list[int], targets: set[int]) -> dict[str, float]:
    """Compute the definitions once more, in loops, for one user."""
    if not targets:
        return dict.fromkeys(METRICS, math.nan)
    k = len(ranked)
    gains = [1 if item in targets else 0 for item in ranked]
    dcg = sum(gain / math.log2(place + 2) for place, gain in enumerate(gains))
    ideal = sum(1 / math.log2(place + 2) for place in range(min(k, len(targets))))
    precisions = [sum(gains[: place + 1]) / (place + 1) for place, gain in enumerate(gains) if gain]
    return {
        "ndcg": dcg / ideal,
        "recall": sum(gains) / len(targets),
        "precision": sum(gains) / k,
        "map": sum(precisions) / min(k, len(targets)),
        "hit_rate": float(any(gains)),
        "mrr": 1 / (gains.index(1) + 1) if any(gains) else 0.0,
    }


@st.composite
def cases(draw):
    m, n = draw(st.integers(1, 5)), draw(st.integers(1, 15))
    k = draw(st.integers(1, 10))
    lists = [draw(st.permutations(range(n)))[:k] for _ in range(m)]
    ranked = np.array([[*items, *[-1] * (k - len(items))] for items in lists], dtype=np.int32)
    return ranked, draw(hnp.arrays(bool, (m, n)))


@given(cases())
def test_every_metric_equals_its_definition_in_loops(case) -> None:
    ranked, targets = case
    measured = accuracy(ranked, sparse.csr_array(targets))
    assert tuple(measured) == METRICS
    for row in range(len(ranked)):
        expected = naive(ranked[row].tolist(), set(np.flatnonzero(targets[row]).tolist()))
        assert {name: values[row] for name, values in measured.items()} == pytest.approx(expected, nan_ok=True)


SCORES = (-np.inf, np.nan, -1.0, 0.0, 0.25, 0.5, 3.0)


@st.composite
def scored_cases(draw):
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 12)))
    scores = draw(hnp.arrays(np.float32, shape, elements=st.sampled_from(SCORES)))
    return scores, draw(hnp.arrays(bool, shape)), draw(hnp.arrays(bool, shape))


@given(scored_cases())
def test_both_areas_are_those_of_scikit_learn(case) -> None:
    scores, bought, hidden = case
    targets = bought & ~hidden
    values = ScoreAUC.of(scores).per_user(sparse.csr_array(targets), sparse.csr_array(hidden))
    finite = np.where(np.isfinite(scores), scores, -99)
    for row in range(len(scores)):
        remaining = ~hidden[row]
        labels, answer = targets[row, remaining], finite[row, remaining]
        roc = roc_auc_score(labels, answer) if 0 < labels.sum() < len(labels) else np.nan
        precision = average_precision_score(labels, answer) if labels.any() else np.nan
        assert values["roc_auc"][row] == pytest.approx(roc, nan_ok=True)
        assert values["pr_auc"][row] == pytest.approx(precision, nan_ok=True)


def test_a_training_run_has_the_figures_that_people_decide_on_each_before_its_bounds() -> None:
    figures = {
        f"{part}ndcg_at_10{end}": 0.0 for part in ("warm_", "cold_", "new_", "") for end in ("_low", "_high", "")
    }
    first = list(grouped(first_figures(figures)))
    assert first[:4] == ["accuracy/ndcg_at_10", "accuracy/ndcg_at_10_low", "accuracy/ndcg_at_10_high", first[3]]
    assert [name for name in first if not name.endswith(("_low", "_high"))] == [
        *("accuracy/ndcg_at_10", "accuracy/new_ndcg_at_10", "fairness/cold_ndcg_at_10"),
    ]


def test_every_other_figure_follows_its_group() -> None:
    assert mlflow_name("cold_new_recall_at_10") == "cold_new/recall_at_10"
    assert mlflow_name("newcomer_map_at_10") == "newcomer/map_at_10"
    assert mlflow_name("new_map_at_10") == "new/map_at_10"
    assert mlflow_name("train_ndcg_at_10") == "train/ndcg_at_10"
    assert mlflow_name("pairs_brier") == "pairs/brier"
    assert mlflow_name("gini_at_10") == "test/gini_at_10"
    assert mlflow_name("ndcg_at_10_low") == "accuracy/ndcg_at_10_low"
    assert mlflow_name("warm_ndcg_at_10_high") == "intervals/warm_ndcg_at_10_high"
    assert mlflow_name("warm_repeat_map_at_10") == "warm_repeat/map_at_10"


def test_no_two_figures_share_a_name() -> None:
    parts = ("", "cold_", "warm_", "newcomer_", "new_", "cold_new_", "train_", "pairs_")
    names = [f"{part}{name}{end}" for part in parts for name in ("ndcg_at_10", "users") for end in ("", "_low")]
    assert len(grouped(dict.fromkeys(names, 0.0))) == len(names)


def test_intervals_are_those_of_scipy() -> None:
    values = np.random.default_rng(3).gamma(2, 1, (400, 3))
    result = intervals(values, seed=7)
    for column in range(3):
        other = stats.bootstrap((values[:, column],), np.mean, n_resamples=20_000, method="percentile", rng=1)
        spread = other.standard_error
        assert result[:, column] == pytest.approx(list(other.confidence_interval), abs=0.2 * spread)


def test_ratios_are_those_of_scipys_pairs() -> None:
    random = np.random.default_rng(3)
    below = random.integers(1, 20, 300).astype(float)
    above = random.binomial(below.astype(int), 0.3).astype(float)
    result = intervals_of_ratios(above[:, None], below[:, None], seed=7)[:, 0]
    other = stats.bootstrap(
        (above, below),
        lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis),
        n_resamples=20_000,
        method="percentile",
        paired=True,
        rng=1,
    )
    assert result == pytest.approx(list(other.confidence_interval), abs=0.2 * other.standard_error)


def test_users_without_a_figure_do_not_count() -> None:
    values = np.array([[1.0, np.nan], [1.0, np.nan], [np.nan, np.nan]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = intervals(values, seed=0)
    assert result[:, 0].tolist() == [1, 1]
    assert np.isnan(result[:, 1]).all()
    assert np.isnan(intervals(np.empty((0, 2)), seed=0)).all()


def test_a_figure_that_repeats_pull_down_stays_inside_its_interval() -> None:
    shown = np.eye(50)  # every user sees another item, so a sample of users never shows all of them
    result = estimate(lambda drawn: ((drawn @ shown) > 0).mean(axis=1), 50, seed=0)
    assert result.value == 1
    assert result.low < 1 < result.high
    assert result.high - result.low < 0.25


def test_the_same_seed_gives_the_same_interval_and_blocks_change_nothing_in_size() -> None:
    differences = np.random.default_rng(0).normal(0, 1, 5000)
    assert interval(differences, 7) == interval(differences, 7)
    assert interval(differences, 7) != interval(differences, 8)
    low, high = interval(differences, 7)
    assert (high - low) / 2 == pytest.approx(1.96 * differences.std() / np.sqrt(5000), rel=0.1)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """Return calibrated probabilities of 20 to 60 items per user."""
    random = np.random.default_rng(0)
    user = np.repeat(np.arange(PEOPLE), random.integers(20, 60, PEOPLE))
    score = random.beta(0.5, 4, len(user)).astype(np.float32)
    bought = random.random(len(user)) < score
    return Pairs(user, score, bought, PEOPLE, int(bought.sum()) * 2, probabilities=True)


def test_pairs_are_what_was_named_and_whether_it_was_bought() -> None:
    items = np.array([[2, 0, -1], [1, -1, -1]], dtype=np.int32)
    ranking = TopCandidates(items, np.where(items < 0, -np.inf, 0.5).astype(np.float32))
    result = Pairs.of(ranking, sparse.csr_array(np.array([[True, True, False], [False, True, False]])), False)
    assert result.user.tolist() == [0, 0, 1]
    assert result.bought.tolist() == [False, True, True]
    assert result.targets == 3


def resampled(pairs: Pairs, figure) -> tuple[np.ndarray, float]:
    """Return scipy's interval of a figure around itself, with users resampled with all their pairs."""
    own = [np.flatnonzero(pairs.user == user) for user in range(PEOPLE)]

    def of(users: np.ndarray) -> float:
        rows = np.concatenate([own[user] for user in users.astype(int)])
        return float(figure(pairs.bought[rows], pairs.score[rows]))

    result = stats.bootstrap((np.arange(PEOPLE),), of, n_resamples=200, vectorized=False, method="percentile", rng=2)
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
    squared = Pairs(pairs.user, pairs.score**0.5, pairs.bought, PEOPLE, pairs.targets, True)
    assert squared.figures(seed=7)["pairs_calibration_error"].value > 0.1


def test_recall_ends_at_what_was_named(pairs: Pairs) -> None:
    precision, recall = pairs.precision_recall()
    assert recall[-1] == pytest.approx(0.5)  # the other half of what they bought was never named
    assert precision[-1] == pytest.approx(pairs.bought.mean())
    assert (np.diff(recall) >= 0).all()


def test_without_anything_bought_there_are_no_figures(pairs: Pairs) -> None:
    empty = Pairs(pairs.user, pairs.score, np.zeros_like(pairs.bought), PEOPLE, 0, True)
    assert empty.figures(seed=7) == {}


@pytest.fixture
def catalogue(small) -> ItemNovelty:
    rows = [("a", "i0", 1, "1"), ("a", "i0", 2, "2"), ("a", "i1", 1, "1"), ("b", "i0", 1, "3"), ("c", "i2", 1, "4")]
    rows += [("d", "i3", 1, "5"), ("d", "i4", 1, "5")]
    return ItemNovelty.of(small(rows, {f"i{n}": path for n, path in enumerate(PATHS)}))


def test_an_item_is_as_new_as_few_users_had_it(catalogue: ItemNovelty) -> None:
    values = catalogue.variety(np.array([[0, 1, -1], [0, -1, -1], [-1, -1, -1]], dtype=np.int32))["novelty"]
    # Two of four users had the first item, however often, and one the second: 1 bit and 2 bits.
    np.testing.assert_allclose(values, [1.5, 1, np.nan])


def test_the_long_tail_is_what_few_users_had() -> None:
    tail = ItemNovelty(np.zeros(5), np.zeros((5, 0), dtype=np.int64), np.array([False, True, True, True, True]))
    values = tail.variety(np.array([[0, 1], [0, -1], [1, 2], [-1, -1]], dtype=np.int32))["long_tail"]
    np.testing.assert_allclose(values, [0.5, 0, 1, np.nan])


def test_a_fifth_of_the_catalogue_is_its_head(catalogue: ItemNovelty) -> None:
    assert catalogue.tail.tolist() == [False, True, True, True, True]


def naive_diversity(ranked: list[int]) -> float:
    """Compute the definition once more, pair by pair."""

    def apart(one: str, other: str) -> float:
        a, b = (path.split("|") if path else [] for path in (one, other))
        shared = sum(a[: level + 1] == b[: level + 1] for level in range(min(len(a), len(b))))
        return 1 - shared / max(len(a), len(b), 1)

    pairs = list(combinations([PATHS[item] for item in ranked if item >= 0 and PATHS[item]], 2))
    return sum(apart(*pair) for pair in pairs) / len(pairs) if pairs else np.nan


def test_diversity_equals_its_definition_in_loops(catalogue: ItemNovelty) -> None:
    random = np.random.default_rng(0)
    ranked = np.array([random.permutation(5)[:4] for _ in range(50)], dtype=np.int32)
    ranked[random.random(ranked.shape) < 0.2] = -1
    values = catalogue.variety(ranked)["diversity"]
    np.testing.assert_allclose(values, [naive_diversity(row) for row in ranked.tolist()])


def test_gini_equals_half_the_relative_mean_difference_of_all_pairs() -> None:
    counts = np.random.default_rng(0).integers(0, 9, 12).astype(float)
    every = np.append(counts, np.zeros(8))
    expected = np.abs(every[:, None] - every).mean() / (2 * every.mean())
    assert concentration(counts[None], 20)[0] == pytest.approx(expected)
    assert np.isnan(concentration(np.array([[0.0]]), 100)[0])


def test_coverage_and_gini_are_of_the_whole_catalogue() -> None:
    values = spread_of(np.array([[0, 1], [0, -1], [0, 2]], dtype=np.int32), 6, seed=0)
    assert values["coverage"].value == 3 / 6
    assert values["gini"].value == pytest.approx(concentration(np.array([[3.0, 1, 1, 0, 0, 0]]), 6)[0])
    assert all(figure.low < figure.value < figure.high for figure in values.values())


USERS, ITEMS = 200, 60


def shop() -> tuple[np.ndarray, sparse.csr_array, ItemNovelty]:
    """Return candidates that begin with the same ten items, which half of the users buy, then rarer ones."""
    random = np.random.default_rng(0)
    rare = np.array([random.permutation(np.arange(10, ITEMS))[:20] for _ in range(USERS)])
    candidates = np.hstack([np.tile(np.arange(10), (USERS, 1)), rare]).astype(np.int32)
    bought = np.zeros((USERS, ITEMS), dtype=bool)
    bought[: USERS // 2, 0] = True
    bought[np.arange(USERS), rare[:, 5]] = True
    tail = np.arange(ITEMS) >= 10
    catalogue = ItemNovelty(np.ones(ITEMS), np.zeros((ITEMS, 1), dtype=np.int64), tail)
    return candidates, sparse.csr_array(bought), catalogue


def test_a_larger_penalty_shows_more_items_more_evenly_and_rarer_ones() -> None:
    result = rerank(*shop()[:1], 10, *shop()[1:])
    assert [lists.penalty for lists in result] == list(PENALTIES)
    first, last = result[0], result[-1]
    assert first.coverage_at_10 == 10 / ITEMS
    assert (last.coverage_at_10, last.long_tail_at_10) == (50 / ITEMS, 1.0)
    assert last.gini_at_10 < first.gini_at_10


def test_the_accuracy_is_that_of_the_lists_after_re_ranking() -> None:
    candidates, bought, catalogue = shop()
    first, *_, last = rerank(candidates, 10, bought, catalogue)
    assert first.ndcg_at_10 == np.mean([1 / (1 + 1 / np.log2(3))] * 100 + [0.0] * 100)
    assert 0 < last.ndcg_at_10 < 0.5


def test_lists_with_empty_places_are_re_ranked_too() -> None:
    candidates, bought, catalogue = shop()
    candidates[:, 15:] = -1
    candidates[0] = -1
    assert np.isfinite(rerank(candidates, 10, bought, catalogue)[-1]).all()

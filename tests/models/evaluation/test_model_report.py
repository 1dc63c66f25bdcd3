from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from numpy.typing import NDArray

from models import catalog
from models.catalog import CATALOG
from models.datasets.dataset import Dataset
from models.datasets.training_data import TrainingData, targets
from models.errors import NoHistoryError
from models.evaluation.model_report import (
    USERS,
    check_overfit,
    cold_start_data,
    evaluate_newcomers,
    feature_importance,
    learned_targets,
    learning_curve,
    newcomer_metrics,
    restrict_targets,
    subset_users,
    training_metrics,
)
from models.evaluation.offline import Evaluation, evaluate
from models.primitives.vocabulary import index_of
from models.ranking.ranking_examples import TwoStageConfig, build_examples
from models.ranking.two_stage import LogisticRegression, RegressionConfig
from models.recommenders.baselines.most_popular import MostPopular
from models.recommenders.protocols import BASE_VALUE
from tests.models.conftest import CUT, CUTS
from tests.models.trainable import marked, quick_config

HELD = ["u002", "u003", "u004"]
END = CUTS["as_of"]


@pytest.fixture(scope="module")
def dataset(shop) -> Dataset:
    """Return the shop with three users who came after the cut, one of them without traits."""
    rows = shop.interactions
    gone = pc.and_(pc.is_in(rows["user_key"], pa.array(HELD)), pc.less(rows["occurred_at"], CUT))
    users = shop.users.filter(pc.not_equal(shop.users["user_key"], "u003"))
    return Dataset(CUTS, rows.filter(pc.invert(gone)), users, shop.items)


@pytest.fixture(scope="module")
def measured(dataset: Dataset) -> Callable[[str], tuple[object, np.ndarray]]:
    data = dataset.training_data(CUT)
    popular = MostPopular.fit(data, MostPopular.config_type(), 0).popularity

    def of(kind: str):
        model = catalog.model_type(kind).fit(data, catalog.config(kind), 0)
        return evaluate_newcomers(model, dataset, data, popular, END)

    return of


def test_newcomers_are_those_who_bought_nothing_before(measured) -> None:
    result = measured("most_popular")
    assert result.per_user["user_key"].to_pylist() == HELD
    assert result.per_user["baskets"].to_pylist() == [0, 0, 0]
    assert result.summary["ndcg_at_10"] > 0


def test_a_model_that_knows_nobody_new_shows_what_is_popular(measured) -> None:
    popular, own = measured("most_popular"), measured("own_frequency")
    assert own.per_user["ndcg_at_10"].equals(popular.per_user["ndcg_at_10"])
    assert own.summary["fallback_share"] == 1


def test_a_model_that_folds_users_in_scores_those_with_traits(measured) -> None:
    result = measured("lightfm_hybrid")
    assert result.summary["fallback_share"] == pytest.approx(1 / 3)


def test_their_figures_carry_their_name_and_everything_is_new_to_them(measured) -> None:
    figures = newcomer_metrics(measured("most_popular"))
    assert figures["newcomer_users"] == 3
    assert figures["newcomer_ndcg_at_10_low"] <= figures["newcomer_ndcg_at_10"] <= figures["newcomer_ndcg_at_10_high"]
    assert not [name for name in figures if "new_" in name.removeprefix("newcomer_")]


def test_without_newcomers_there_are_no_figures(shop) -> None:
    dataset = Dataset(CUTS, shop.interactions, shop.users, shop.items)
    data = dataset.training_data(CUT)
    model = MostPopular.fit(data, MostPopular.config_type(), 0)
    assert newcomer_metrics(evaluate_newcomers(model, dataset, data, model.popularity, END)) == {}


DAY = 86_400


@pytest.fixture(scope="module")
def bought(small) -> TrainingData:
    rows = [("a", "x", 100, "1"), ("b", "x", 100, "2"), ("b", "y", 72, "3"), ("b", "z", 100, "4")]
    return small([(u, i, d - 1e-9, s) for u, i, d, s in rows], {"x": "FOOD|MILK", "y": "FOOD|MILK", "z": "TOYS"})


def test_strangers_are_measured_on_what_they_buy_of_the_known_items(bought: TrainingData) -> None:
    frame = cold_start_data(bought, pa.table({"user_key": ["n", "m"]}))
    assert frame.users.tolist() == ["m", "n"]
    assert frame.history().nnz == 0
    rows = {"user_key": ["n", "a", "n"], "item_id": ["y", "y", "new"], "occurred_at": [101 * DAY] * 3}
    result = targets(pa.table(rows), frame, 100 * DAY, 102 * DAY)
    assert result.toarray().tolist() == [[False, False, False], [False, True, False]]


@pytest.fixture(scope="module")
def model(data: TrainingData) -> LogisticRegression:
    return LogisticRegression.fit(data, RegressionConfig(per_retriever=12), seed=0)


@pytest.fixture(scope="module")
def evaluation(
    model: LogisticRegression, data: TrainingData, targets: Any, popularity: NDArray[np.float32]
) -> Evaluation:
    return evaluate(model, data, targets, popularity)


def test_a_feature_weighs_how_far_it_moves_what_is_shown_one_item_after_the_other(
    model: LogisticRegression, evaluation: Evaluation
) -> None:
    values: list[dict[str, float]] = []
    for row in evaluation.per_user.slice(0, USERS).select(["user_key", "items_at_10"]).to_pylist():
        (user,) = index_of(model.users, np.array([row["user_key"]]))
        items = index_of(model.items, np.array(row["items_at_10"]))
        values += [result for item in items if (result := model.contributions(int(user), int(item)))]
    for one in feature_importance(model, evaluation, seed=0):
        added = np.array([result[one.feature] for result in values])
        assert one.moves.value == pytest.approx(np.abs(added).mean(), rel=1e-4, abs=1e-6)
        assert one.adds == pytest.approx(added.mean(), rel=1e-4, abs=1e-6)


def test_the_strongest_feature_comes_first_with_an_interval_around_it(
    model: LogisticRegression, evaluation: Evaluation
) -> None:
    result = feature_importance(model, evaluation, seed=0)
    values = [one.moves.value for one in result]
    assert values == sorted(values, reverse=True)
    assert 0 < result[0].moves.low < result[0].moves.value < result[0].moves.high
    assert BASE_VALUE not in [one.feature for one in result]


def test_a_model_that_does_not_explain_itself_has_none(data: TrainingData, evaluation: Evaluation) -> None:
    assert feature_importance(MostPopular.fit(data, MostPopular.config_type(), 0), evaluation, seed=0) == []


def test_without_anybody_or_anything_shown_by_the_model_there_is_none(
    model: LogisticRegression, evaluation: Evaluation
) -> None:
    assert feature_importance(model, replace(evaluation, per_user=evaluation.per_user.slice(0, 0)), seed=0) == []
    keys = [f"stranger {row}" for row in range(evaluation.per_user.num_rows)]
    strangers = evaluation.per_user.set_column(0, "user_key", [keys])
    assert feature_importance(model, replace(evaluation, per_user=strangers), seed=0) == []


def test_a_part_is_what_the_data_would_be_without_the_others(small) -> None:
    rows = [("a", "x", 10, "1"), ("a", "z", 11, "2"), ("c", "z", 12, "3"), ("c", "z", 13, "4")]
    whole = small([*rows, ("b", "y", 12, "5"), ("b", "x", 14, "5")], {"x": "X", "y": "Y", "z": "Z"})
    part, expected = subset_users(whole, np.array([2, 0])), small(rows, {"x": "X", "z": "Z"})
    names = ("users", "items", "user", "item", "occurred_at", "basket", "item_titles", "item_categories", "available")
    for name in names:
        assert getattr(part, name).tolist() == getattr(expected, name).tolist(), name
    assert part.item_tags.shape[0] == 2
    assert part.user_tags.shape[0] == 2


@pytest.mark.parametrize("kind", marked(sorted(set(CATALOG) - {"two_stage"})))  # it learns as logistic_regression does
def test_every_model_can_be_learned_from_a_part_of_the_users(kind: str, data, targets) -> None:
    model, config = catalog.model_type(kind), quick_config(kind)
    points = learning_curve(lambda less: model.fit(less, config, 0), model.fit(data, config, 0), data, targets)
    assert [(point.share, point.users) for point in points] == [(0.5, 30), (1.0, 60)]
    assert all(0 <= point.figure.low <= point.figure.value <= point.figure.high <= 1 for point in points)


def test_a_part_that_is_too_small_to_learn_from_is_left_out(data, targets) -> None:
    model, config = catalog.model_type("most_popular"), catalog.config("most_popular")

    def fit(_less):
        raise NoHistoryError("too little")

    fitted = model.fit(data, config, 0)
    assert learning_curve(fit, fitted, data, targets) == []
    assert learning_curve(lambda _less: fitted, fitted, data, targets, shares=(1 / 8,)) == []


SPAN = 30 * DAY


@dataclass(frozen=True)
class Memory:
    """A model that memorises the last purchases and nothing else."""

    users: np.ndarray
    items: np.ndarray
    last: np.ndarray

    def scores(self, users: np.ndarray) -> np.ndarray:
        return np.where(self.last[users], np.float32(1), np.float32(-np.inf))


def test_learned_targets_are_the_last_purchases(small) -> None:
    data = small([("a", "x", 10, "1"), ("a", "y", 80, "2"), ("b", "x", 99, "3"), ("b", "x", 98, "4")])
    learned = learned_targets(data, 80 * DAY)
    assert learned.toarray().tolist() == [[False, True], [True, False]]
    assert restrict_targets(learned, np.array([1])).toarray().tolist() == [[False, False], [True, False]]


def test_a_model_that_learns_by_heart_has_a_gap_and_popularity_hardly_any(data, targets, popularity) -> None:
    memory = Memory(data.users, data.items, learned_targets(data, data.cut - SPAN).toarray())
    popular = MostPopular.fit(data, catalog.config("most_popular"), 0)
    by_heart, plain = (
        check_overfit(model, data, evaluate(model, data, targets, popularity), popularity, SPAN).figures()
        for model in (memory, popular)
    )
    assert by_heart["train_ndcg_at_10"] == 1
    assert by_heart["overfit_gap_low"] > 0.3
    assert plain["overfit_gap"] < 0.1
    assert plain["overfit_gap_low"] < plain["overfit_gap"] < plain["overfit_gap_high"]


def test_both_sides_are_of_the_same_users(data, targets, popularity) -> None:
    model = MostPopular.fit(data, catalog.config("most_popular"), 0)
    held_out = evaluate(model, data, targets, popularity)
    check = check_overfit(model, data, held_out, popularity, SPAN)
    both = (np.diff(targets.indptr) > 0) & (np.diff(learned_targets(data, data.cut - SPAN).indptr) > 0)
    again = evaluate(model, data, restrict_targets(targets, np.flatnonzero(both)), popularity, brief=True).summary
    assert again["users"] < held_out.summary["users"]
    assert check.held_out["ndcg_at_10"].value == pytest.approx(again["ndcg_at_10"])
    assert check.gap["map_at_10"].value == pytest.approx(
        check.learned["map_at_10"].value - check.held_out["map_at_10"].value
    )


def test_without_users_in_both_there_is_no_check(data, targets, popularity) -> None:
    model = MostPopular.fit(data, catalog.config("most_popular"), 0)
    assert check_overfit(model, data, evaluate(model, data, targets, popularity), popularity, seconds=0) is None


def test_a_ranker_is_measured_on_the_candidates_it_learned_from(data) -> None:
    config = catalog.config("logistic_regression")
    model = catalog.model_type("logistic_regression").fit(data, config, 0)
    result = training_metrics(model, data, seed=0)
    rows, labels, weights, _ = build_examples(data, TwoStageConfig.of(config), 0).examples
    answer = model.ranker.probabilities(rows)
    better = answer[labels == 1][:, None] - answer[labels == 0]
    expected = np.average((better > 0) + (better == 0) / 2, axis=1, weights=weights[labels == 0]).mean()
    assert result["train_pairs_roc_auc"] == pytest.approx(expected)
    assert labels.mean() < result["train_pairs_pr_auc"] < 1
    assert training_metrics(MostPopular.fit(data, catalog.config("most_popular"), 0), data, seed=0) == {}

from dataclasses import dataclass

import numpy as np
import pytest

from models import catalog
from models.catalog import CATALOG
from models.errors import NoHistoryError
from models.evaluation.model_report import (
    affordable,
    check_overfit,
    learned_targets,
    learning_curve,
    restrict_targets,
    subset_users,
    training_metrics,
)
from models.evaluation.offline import evaluate
from models.ranking.two_stage import TwoStageConfig, build_examples
from models.recommenders.baselines.most_popular import MostPopular
from tests.models.trainable import marked, quick_config


def test_slow_models_are_fitted_on_fewer_parts() -> None:
    assert affordable(1) == (1 / 8, 1 / 4, 1 / 2)
    assert affordable(5) == (1 / 8, 1 / 4)
    assert affordable(10_000) == ()


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


DAY = 86_400
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
    rows, labels, weights = build_examples(data, TwoStageConfig.of(config), 0)
    answer = model.ranker.probabilities(rows)
    better = answer[labels == 1][:, None] - answer[labels == 0]
    expected = np.average((better > 0) + (better == 0) / 2, axis=1, weights=weights[labels == 0]).mean()
    assert result["train_pairs_roc_auc"] == pytest.approx(expected)
    assert labels.mean() < result["train_pairs_pr_auc"] < 1
    assert training_metrics(MostPopular.fit(data, catalog.config("most_popular"), 0), data, seed=0) == {}

from dataclasses import dataclass

import numpy as np
import pytest

from models import catalog
from models.evaluation.diagnostics.overfitting import check_overfit, learned_targets, restrict_targets, training_metrics
from models.evaluation.offline import evaluate
from models.ranking.training_examples import TwoStageConfig, build_examples
from models.recommenders.baselines.most_popular import MostPopular

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

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.datasets.training_data import TrainingData
from models.evaluation.diagnostics.feature_importance import USERS, feature_importance
from models.evaluation.offline import Evaluation, evaluate
from models.primitives.vocabulary import index_of, words
from models.ranking.two_stage import LogisticRegression, RegressionConfig
from models.recommenders.baselines.most_popular import MostPopular
from models.recommenders.protocols import BASE_VALUE


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


def test_many_users_are_looked_at_and_no_more(model: LogisticRegression, evaluation: Evaluation) -> None:
    often = [row % evaluation.per_user.num_rows for row in range(2 * USERS)]
    many = evaluation.per_user.take(often)
    assert len(words(many["user_key"])) > USERS
    some = feature_importance(model, replace(evaluation, per_user=many.slice(0, USERS)), seed=0)
    assert feature_importance(model, replace(evaluation, per_user=many), seed=0) == some

"""Challengers that are broken in one way each, measured as any other and refused with the right reason."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import catalog
from models.datasets.dataset import Dataset
from models.datasets.training_data import TrainingData, targets
from models.evaluation.offline import Evaluation, evaluate
from models.gate.decision import decide
from models.gate.fairness_checks import demographics
from models.gate.results import GateResult
from models.gate.thresholds import GateThresholds
from models.lists.list_builder import ListBuilder
from models.lists.model_cascade import build_cascade
from models.lists.rules.compiled_rules import CompiledRules
from models.recommenders.baselines.most_popular import popularity
from tasks.training.train_model import K, measure_costs
from tests.models.conftest import CUT, CUTS, DAY, Shop, make_shop

USERS = 240


@dataclass(frozen=True)
class Poisoned:
    """A sound model whose scores are changed on the way out."""

    model: Any
    change: Callable[[np.ndarray, np.ndarray], np.ndarray]

    @property
    def users(self) -> np.ndarray:
        return self.model.users

    @property
    def items(self) -> np.ndarray:
        return self.model.items

    def scores(self, users: np.ndarray) -> np.ndarray:
        return self.change(self.model.scores(users).copy(), users)

    def reasons(self, users: np.ndarray, items: np.ndarray) -> list[str]:
        return self.model.reasons(users, items)


@pytest.fixture(scope="module")
def shop() -> Shop:
    return make_shop(seed=1, n_users=USERS)


@pytest.fixture(scope="module")
def data(shop: Shop) -> TrainingData:
    return Dataset(CUTS, *shop).training_data(CUT)


@pytest.fixture(scope="module")
def review(shop: Shop, data: TrainingData, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., GateResult]:
    """Measures a model and decides about it, against the baselines."""
    expected_items = targets(shop.interactions, data, CUT, CUT + 30 * DAY)
    stored: Path = tmp_path_factory.mktemp("stored")

    def measured(model: Any) -> Evaluation:
        result = evaluate(model, data, expected_items, popularity(data))
        rules = CompiledRules.plain(K, np.ones(len(data.items), dtype=bool))
        answers = ListBuilder(build_cascade(model, None, popularity(data)), popularity(data), rules)
        return replace(result, summary=result.summary | measure_costs(answers, stored))

    baselines = {kind: measured(fitted(kind, data)) for kind in ("most_popular", "own_frequency")}

    def gate(model: Any, limits: GateThresholds = GateThresholds()) -> GateResult:  # noqa: B008 -- a frozen value
        result = measured(model)
        return decide(result, baselines, None, 7, demographics(shop.users, result.per_user["user_key"]), limits)

    return gate


def fitted(kind: str, data: TrainingData) -> Any:
    return catalog.model_type(kind).fit(data, catalog.config(kind), 7)


def refused(gate: GateResult) -> dict[str, str]:
    return {check.name: check.detail for check in gate.checks if check.refused}


def test_the_sound_model_passes(review: Callable[..., GateResult], data: TrainingData) -> None:
    assert refused(review(fitted("own_frequency", data))) == {}


def test_scores_that_are_no_numbers(review: Callable[..., GateResult], data: TrainingData) -> None:
    def violations(scores: np.ndarray, _users: np.ndarray) -> np.ndarray:
        scores[:, ::9] = np.nan
        return scores

    result = refused(review(Poisoned(fitted("own_frequency", data), violations)))
    assert list(result) == ["scores are numbers"]
    assert "scores are NaN" in result["scores are numbers"]


def test_one_list_for_everybody(review: Callable[..., GateResult], data: TrainingData) -> None:
    def same(scores: np.ndarray, _users: np.ndarray) -> np.ndarray:
        return np.broadcast_to(np.arange(scores.shape[1], dtype=np.float32), scores.shape).copy()

    result = refused(review(Poisoned(fitted("own_frequency", data), same)))
    assert result == {"is personal": "All users would get the same list."}


def test_half_of_what_was_found_is_lost(review: Callable[..., GateResult], data: TrainingData) -> None:
    def forgetful(scores: np.ndarray, users: np.ndarray) -> np.ndarray:
        forgotten = np.random.default_rng(0).random((len(data.users), scores.shape[1])) < 0.5
        return np.where(forgotten[users], np.float32(-np.inf), scores)

    result = refused(review(Poisoned(fitted("own_frequency", data), forgetful)))
    assert "significantly worse than own_frequency" in result["not worse than own_frequency"]


def test_nothing_for_a_group(review: Callable[..., GateResult], data: TrainingData) -> None:
    def unscored(scores: np.ndarray, users: np.ndarray) -> np.ndarray:
        scores[users < 60] = -np.inf  # people of low income
        return scores

    result = refused(review(Poisoned(fitted("own_frequency", data), unscored)))
    assert "has only best sellers for 100% of the" in result["answers every group"]
    assert "people with income 0 to" in result["answers every group"]
    assert "no group worse by income" not in result  # too few people to be judged by accuracy

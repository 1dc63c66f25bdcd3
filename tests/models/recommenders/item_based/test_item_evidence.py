from typing import Any

import numpy as np
import pytest

from models import catalog
from models.datasets.training_data import TrainingData
from models.recommenders.explanations.evidence import unit
from models.recommenders.item_based.item_evidence import ItemEvidence

FRUIT, TOOLS = slice(0, 20), slice(20, 40)
ITEMS = np.array([3, 25], dtype=np.int32)


def evidence(data: TrainingData, kind: str, **settings: Any) -> ItemEvidence:
    made = ItemEvidence.of(catalog.model_type(kind).fit(data, catalog.config(kind, settings), 7))
    made.warm()
    return made


@pytest.mark.parametrize("kind", ["own_frequency", "own_and_popular", "item_knn", "content_based", "graph_filter"])
def test_the_same_users_buy_what_goes_together(data: TrainingData, kind: str) -> None:
    lifts = evidence(data, kind).lifts(ITEMS)
    assert lifts is not None
    assert lifts.shape == (2, 45)
    assert (lifts >= 1).all()
    assert lifts[0, FRUIT].sum() > lifts[0, TOOLS].sum() == 20
    assert lifts[1, TOOLS].sum() > lifts[1, FRUIT].sum() == 20
    assert lifts[0, 3] == lifts[1, 25] == 1


def test_lifts_are_users_of_both_over_those_expected_by_chance(data: TrainingData) -> None:
    lifts = evidence(data, "own_frequency").lifts(ITEMS[:1])
    assert lifts is not None
    bought = data.history().toarray()
    both = bought[bought[:, 3]].sum(axis=0)
    expected = bought[:, 3].sum() * bought.sum(axis=0) / len(bought)
    counted = (both >= 3) & (np.arange(45) != 3)
    assert lifts[0, counted] == pytest.approx(np.maximum((both + 10) / (expected + 10), 1)[counted], rel=1e-5)


def test_items_are_similar_by_their_words(data: TrainingData) -> None:
    cosines = evidence(data, "content_based").cosines(ITEMS)
    assert cosines is not None
    model: Any = catalog.model_type("content_based").fit(data, catalog.config("content_based"), 7)
    exact = (model.vectors[ITEMS] @ model.vectors.T).toarray()
    exact[[0, 1], ITEMS] = 0
    assert cosines == pytest.approx(exact, abs=1e-6)


def test_without_words_items_are_similar_by_their_factors(data: TrainingData) -> None:
    model: Any = catalog.model_type("als").fit(data, catalog.config("als", {"factors": 8}), 7)
    found = ItemEvidence.of(model)
    cosines, factors = found.cosines(ITEMS), unit(model.item_factors)
    assert cosines is not None
    assert found.lifts(ITEMS) is None
    assert cosines[0, 0] == pytest.approx(max(0.0, float(factors[3] @ factors[0])), abs=1e-6)


@pytest.mark.parametrize(("kind", "settings"), [("content_based", {}), ("als", {"factors": 8})])
def test_cosines_of_a_few_items_and_their_sum_are_those_of_all(
    data: TrainingData, kind: str, settings: dict[str, Any]
) -> None:
    found, weights = evidence(data, kind, **settings), np.array([0.8, 1.0], dtype=np.float32)
    cosines, few = found.cosines(ITEMS), np.array([3, 7, 25, 30])
    assert cosines is not None
    assert found.cosines_between(ITEMS, few) == pytest.approx(cosines[:, few], abs=1e-6)
    assert found.summed_cosines(ITEMS, weights) == pytest.approx(weights @ cosines, abs=1e-6)


def test_best_sellers_know_nothing_of_items_together(data: TrainingData) -> None:
    found = evidence(data, "most_popular")
    assert (found.lifts(ITEMS), found.cosines(ITEMS)) == (None, None)
    assert found.summed_cosines(ITEMS, np.ones(2, dtype=np.float32)) is None


def test_items_bought_together_are_remembered_by_logarithms_of_lifts(data: TrainingData) -> None:
    found = evidence(data, "content_based")
    lifts, together = found.lifts(ITEMS[:1]), found.together(3)
    assert lifts is not None
    assert together is not None
    assert together.items.tolist() == np.flatnonzero(lifts[0] > 1).tolist()
    assert together.logarithms == pytest.approx(np.log(lifts[0, together.items]))
    assert found.together(3) is together
    assert evidence(data, "most_popular").together(3) is None

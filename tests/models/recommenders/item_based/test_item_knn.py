from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from models import catalog
from models.datasets.cold_start import NewUsers
from models.datasets.training_data import TrainingData
from models.recommenders.explanations.evidence import unit
from models.recommenders.item_based.item_evidence import ItemEvidence
from models.recommenders.item_based.item_knn import Config, ItemKNN

FOREVER = 1e9
SETS = [("a", "x", 1, "1"), ("a", "y", 1, "2"), ("b", "x", 1, "3"), ("b", "y", 1, "4"), ("c", "x", 1, "5")]
SETS += [("c", "z", 1, "6"), ("d", "w", 1, "7")]
PLAIN = Config(half_life_days=FOREVER, memory_days=FOREVER, shrinkage=0, user_exponent=0)
FRUIT, TOOLS = slice(0, 20), slice(20, 40)
ITEMS = np.array([3, 25], dtype=np.int32)


def scored(data: TrainingData, config: Config, user: str) -> dict[str, float]:
    """The items that the model scores."""
    scores = ItemKNN.fit(data, config, 0).scores(data.user_index(np.array([user])))[0]
    return {str(item): float(score) for item, score in zip(data.items, scores, strict=True) if score > -np.inf}


def test_halves_of_popularity_on_both_sides_are_the_cosine(small) -> None:
    result = scored(small(SETS), PLAIN, "c")
    assert result["y"] == pytest.approx(2 / np.sqrt(3 * 2), rel=1e-5)
    assert result["z"] == result["x"] == pytest.approx(1 / np.sqrt(3), rel=1e-5)


def test_items_never_bought_together_with_the_users_own_are_not_scored(small) -> None:
    assert set(scored(small(SETS), PLAIN, "c")) == {"x", "y", "z"}
    assert scored(small(SETS), PLAIN, "d") == {}


def test_shrinkage_takes_from_neighbours_that_few_have(small) -> None:
    sure, unsure = (scored(small(SETS), replace(PLAIN, shrinkage=s), "c") for s in (0, 5))
    assert unsure["z"] / unsure["y"] < sure["z"] / sure["y"]
    assert unsure["y"] == pytest.approx(2 / np.sqrt(8 * 7), rel=1e-5)


def test_without_the_popularity_exponent_popular_items_come_forward(small) -> None:
    popular = scored(small(SETS), replace(PLAIN, popularity_exponent=0, source_exponent=0), "c")
    assert popular == pytest.approx({"x": 1, "y": 2, "z": 1})


def test_the_last_item_of_a_user_counts_most(small) -> None:
    rows = [("a", "tea", 10, "1"), ("a", "cup", 10, "2"), ("b", "saw", 10, "3"), ("b", "nail", 10, "4")]
    rows += [("c", "tea", 10, "5"), ("c", "saw", 90, "6")]
    result = scored(small(rows), replace(PLAIN, half_life_days=20), "c")
    assert result["nail"] == pytest.approx(16 * result["cup"], rel=1e-4)


def test_items_found_together_long_ago_count_less(small) -> None:
    rows = [("a", "x", 70, "1"), ("a", "old", 70, "2"), ("b", "x", 99, "3"), ("b", "new", 99, "4"), ("c", "x", 99, "5")]
    raw = replace(PLAIN, memory_days=30, popularity_exponent=0, source_exponent=0)
    result = scored(small(rows), raw, "c")
    assert result["old"] / result["new"] == pytest.approx(2 ** (-2 * 29 / 30), rel=1e-3)


def test_with_a_window_the_next_item_is_what_followed(small) -> None:
    rows = [("a", "first", 1, "1"), ("a", "then", 2, "2"), ("b", "then", 1, "3"), ("c", "first", 1, "4")]
    config = replace(PLAIN, window=1, backward=0)
    assert set(scored(small(rows), config, "c")) == {"then"}
    assert scored(small(rows), config, "b") == {}
    assert set(scored(small(rows), replace(config, backward=0.5), "b")) == {"first"}


def test_a_long_history_may_count_less_per_pair(small) -> None:
    rows = [("a", item, 1, item) for item in ("x", "long", "p", "q")] + [("b", "x", 1, "5"), ("b", "short", 1, "6")]
    raw = replace(PLAIN, source_exponent=0, popularity_exponent=0, user_exponent=1)
    for window in (0, 9):
        result = scored(
            small([*rows, ("c", "x", 1, "7")]), replace(raw, window=window, lag_exponent=0, backward=1), "c"
        )
        assert result["long"] / result["short"] == pytest.approx(2 / 4)


def test_a_reason_names_the_own_item_that_adds_most(small) -> None:
    data = replace(small(SETS), item_titles=np.array(["Wine", "Xylophone", "Yams", "Zebra"]))
    model = ItemKNN.fit(data, PLAIN, 0)
    users, items = data.user_index(np.array(["c", "a", "d"])), data.item_index(np.array(["y", "z", "z"]))
    assert model.reasons(users, items) == [
        "Because you bought Xylophone",
        "Because you bought Xylophone",
        "You may like this",
    ]


def test_clicks_of_a_newcomer_count_like_purchases_and_twice_as_much_when_repeated(small) -> None:
    model = ItemKNN.fit(small(SETS), PLAIN, 0)
    clicks = pa.table({"user_key": ["n", "n", "n"], "item_id": ["z", "y", "y"]})
    new = model.with_users(NewUsers.of(pa.table({"user_key": ["n"]}), clicks, model.items))
    result = dict(zip(new.items.tolist(), new.scores(np.array([0], np.int32))[0].tolist(), strict=True))
    # Cosines: x and y were together twice, x and z once; nobody had y and z.
    both = 2 * 2 / np.sqrt(3 * 2) + 1 / np.sqrt(3)
    assert result == pytest.approx({"w": -np.inf, "x": both, "y": -np.inf, "z": -np.inf})
    assert new.reasons(np.array([0], np.int32), np.array([1], np.int32)) == ["Because you looked at y"]


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

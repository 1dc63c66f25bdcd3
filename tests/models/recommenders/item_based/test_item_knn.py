from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse

from models import catalog
from models.datasets.cold_start import NewUsers
from models.datasets.training_data import TrainingData
from models.recommenders.explanations.evidence import unit
from models.recommenders.item_based.bought_together import (
    BoughtTogether,
    as_sets,
    fit_of_lists,
    for_user,
    in_order,
    strongest,
    with_basket,
)
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


def baskets(small, *entries: tuple[int, str]) -> TrainingData:
    """So many baskets of these items each, every one of another user."""
    rows, number = [], 0
    for times, names in entries:
        for _ in range(times):
            number += 1
            rows += [(f"u{number:04}", item, 1, f"s{number}") for item in names]
    made: TrainingData = small(rows)
    return made


@pytest.fixture
def pasta(small) -> TrainingData:
    """Pasta is often bought with sauce (s), with milk (m) because everybody buys milk, and once with a truffle (t)."""
    return baskets(small, (40, "ps"), (60, "pm"), (1, "pt"), (20, "s"), (600, "m"), (279, "o"))


def strongest_neighbour(data: TrainingData, shrinkage: float) -> str:
    lift = BoughtTogether.fit(data, shrinkage, evidence=1).lift[[data.items.tolist().index("p")]].toarray()[0]
    return str(data.items[lift.argmax()])


def test_shrunken_lift_finds_the_sauce_where_counts_name_the_milk_and_plain_lift_the_truffle(
    pasta: TrainingData,
) -> None:
    history = pasta.history().astype(np.float32)
    counts = (history.T @ history).toarray()
    np.fill_diagonal(counts, 0)
    assert pasta.items[counts[pasta.items.tolist().index("p")].argmax()] == "m"
    assert strongest_neighbour(pasta, 0) == "t"
    assert strongest_neighbour(pasta, 10) == "s"


def test_a_lift_is_baskets_found_by_baskets_expected_both_with_some_added(pasta: TrainingData) -> None:
    lift = BoughtTogether.fit(pasta, 10).lift.toarray()
    at = {name: place for place, name in enumerate(pasta.items.tolist())}
    assert lift[at["p"], at["s"]] == pytest.approx((40 + 10) / (101 * 60 / 1000 + 10), rel=1e-5)
    assert lift[at["s"], at["p"]] == lift[at["p"], at["s"]]


def test_items_together_less_than_by_chance_and_the_item_itself_are_not_named(pasta: TrainingData) -> None:
    lift = BoughtTogether.fit(pasta, 10).lift
    at = {name: place for place, name in enumerate(pasta.items.tolist())}
    assert lift[at["p"], at["m"]] == 0
    assert (lift.diagonal() == 0).all()
    assert lift.data.min() > 1


def test_an_item_that_goes_with_all_of_a_basket_beats_one_that_goes_with_a_part_of_it() -> None:
    fit = with_basket(np.array([[2, 3.5, 1, 0.2], [2, 1, 1, 1]], np.float32))
    assert fit.argsort().tolist()[::-1][:2] == [0, 1]
    assert fit[2] == fit[3] == 0


def test_an_item_with_weaker_evidence_comes_after_all_that_are_bought_with_any_of_a_basket() -> None:
    names, fit = fit_of_lists([{"a": 1.1, "b": -1.5, "c": -120}, {"b": 1.2, "c": -1.8, "d": -150}])
    assert names[np.argsort(-fit)].tolist() == ["b", "a", "c", "d"]
    assert (fit > 0).tolist() == [True, True, False, False]


def test_for_a_user_both_rankings_count_and_silence_comes_last() -> None:
    fit = np.array([3.0, 2.0, 1.0])
    assert for_user(fit, np.array([0.1, 5.0, 0.2], np.float32)).tolist() == [1, 0, 2]
    assert for_user(fit, np.array([-np.inf, np.nan, 9], np.float32)).tolist() == [0, 2, 1]
    assert for_user(fit, np.full(3, -np.inf, np.float32)).tolist() == [0, 1, 2]
    assert for_user(fit * 1000, np.array([0.1, 5.0, 0.2], np.float32)).tolist() == [1, 0, 2]


def test_nothing_to_rank_is_no_error() -> None:
    no_items = np.empty(0, np.float32)
    assert for_user(with_basket(np.ones((2, 0), np.float32)), no_items).tolist() == []


def test_pairs_of_few_baskets_are_left_out(pasta: TrainingData) -> None:
    at = {name: place for place, name in enumerate(pasta.items.tolist())}
    assert BoughtTogether.fit(pasta, 0).lift[[at["p"]], [at["t"]]] == 0
    assert BoughtTogether.fit(pasta, 0, evidence=1).lift[[at["p"]], [at["t"]]] > 0


def pairs_in_loops(data: TrainingData, weight: np.ndarray, window: int, exponent: float, backward: float) -> np.ndarray:
    """Compute the definition once more, pair by pair."""
    order = np.lexsort((data.basket, data.occurred_at, data.user))
    total = np.zeros((len(data.items),) * 2)
    for place, early in enumerate(order):
        for lag, late in enumerate(order[place + 1 : place + 1 + window], start=1):
            if data.user[early] != data.user[late]:
                break
            forth, back = (1, 1) if data.basket[early] == data.basket[late] else (lag**-exponent, backward)
            total[data.item[early], data.item[late]] += forth * weight[late]
            total[data.item[late], data.item[early]] += forth * back * weight[late]
    np.fill_diagonal(total, 0)
    return total


@pytest.mark.parametrize("window", [1, 2, 9])
def test_pairs_in_order_equal_their_definition_in_loops(small, window: int) -> None:
    random = np.random.default_rng(window)
    days = iter(random.permutation(20).tolist())
    rows = []
    for user, number in product("abc", range(4)):
        day = next(days)
        rows += [(user, item, day, f"{9 - number}") for item in random.permutation(list("uvwxyz"))[:2]]
    data = small(rows)
    weight = random.random(len(data.user)).astype(np.float32)
    expected = pairs_in_loops(data, weight, window, 0.7, 0.25)
    np.testing.assert_allclose(in_order(data, weight, window, 0.7, 0.25).toarray(), expected, rtol=1e-5)


def test_sets_are_multiplied_out_and_scaled_by_row_and_column() -> None:
    weights = sparse.csr_array(np.array([[1, 2, 0], [3, 0, 1]], dtype=np.float32))
    result = as_sets(weights, 2, np.array([1, 10, 100], np.float32), np.array([1, 2, 3], np.float32))
    assert result.toarray().tolist() == [[0, 4, 9], [20, 0, 0], [300, 0, 0]]
    assert result.dtype == np.float32


def test_blocks_of_rows_give_what_one_product_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = sparse.random_array((40, 30), density=0.2, rng=np.random.default_rng(5), format="csr", dtype=np.float32)
    scale = np.ones(30, dtype=np.float32)
    expected = (weights.T @ weights).toarray()
    np.fill_diagonal(expected, 0)
    monkeypatch.setattr("models.recommenders.item_based.bought_together._PRODUCTS", 20)
    np.testing.assert_allclose(as_sets(weights, 30, scale, scale).toarray(), expected, rtol=1e-5)


def test_only_the_strongest_of_a_row_are_kept() -> None:
    matrix = sparse.csr_array(np.array([[5, 1, 4, 3], [0, 2, 0, 0], [0, 0, 0, 0]], dtype=np.float32))
    assert strongest(matrix, 2).toarray().tolist() == [[5, 0, 4, 0], [0, 2, 0, 0], [0, 0, 0, 0]]

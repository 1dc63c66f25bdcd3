from itertools import product

import numpy as np
import pytest
from scipy import sparse

from models.datasets.training_data import TrainingData
from models.recommenders.item_based.bought_together import (
    BoughtTogether,
    as_sets,
    for_user,
    in_order,
    strongest,
    with_basket,
)


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


def test_only_the_strongest_neighbours_are_kept(small) -> None:
    data = baskets(small, (30, "ab"), (20, "ac"), (10, "ad"), (300, "o"))
    lift = BoughtTogether.fit(data, 1, neighbours=2).lift
    assert np.diff(lift.indptr).max() == 2
    a = data.items.tolist().index("a")
    assert {str(data.items[column]) for column in lift[[a]].indices} == {"b", "c"}


def test_an_item_that_goes_with_all_of_a_basket_beats_one_that_goes_with_a_part_of_it() -> None:
    fit = with_basket(np.array([[2, 3.5, 1, 0.2], [2, 1, 1, 1]], np.float32))
    assert fit.argsort().tolist()[::-1][:2] == [0, 1]
    assert fit[2] == fit[3] == 0


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


def test_baskets_of_a_pair_are_counted_in_baskets_of_any_size(small) -> None:
    many = [f"i{number:03}" for number in range(400)]
    data = small([("u", item, day, f"s{day}") for day in (1, 2, 3) for item in many] + [("v", many[0], 1, "t")])
    every = np.arange(1, 400, dtype=np.int32)
    both, first = BoughtTogether.fit(data).baskets(np.zeros(399, np.int64), every)
    assert (set(both.tolist()), set(first.tolist())) == ({3}, {4})


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

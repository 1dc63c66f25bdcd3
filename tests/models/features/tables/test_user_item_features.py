from typing import Any

import pytest

from models.features.tables.user_item_features import pair_features

DAY = 86_400
NOW = 400 * DAY
ITEMS = [
    ("milk", "food|dairy", "moo", 2.0),
    ("tea", "food|drinks", None, 6.0),
    ("rope", "tools", None, 1.0),
    ("card", None, None, 1.0),
]
EVENTS = [
    ("ann", "milk", "purchase", NOW - 90 * DAY, "s1", 1.0, 1.0),
    ("ann", "milk", "purchase", NOW - 60 * DAY, "s2", 1.0, 1.0),
    ("ann", "milk", "purchase", NOW - 30 * DAY - 60, "s3", 1.0, 1.0),
    ("ann", "milk", "purchase", NOW - 30 * DAY, "s3", 1.0, 1.0),  # the same basket: counts once, at its latest
    ("ann", "tea", "purchase", NOW - 60 * DAY, "s2", 1.0, 1.0),
    ("ann", "rope", "view", NOW - 7 * DAY),
    ("ann", "rope", "view", NOW - 7 * DAY - 1),
    ("ann", "card", "purchase", NOW - DAY, "s4", 1.0, 1.0),
    ("bob", "milk", "purchase", NOW - 12 * DAY, None, 1.0, 1.0),
    ("bob", "rope", "impression", NOW - DAY),
    ("bob", "milk", "purchase", NOW, "s9", 1.0, 1.0),
]


@pytest.fixture
def pairs(answer: Any) -> dict[tuple[str, str], Any]:
    return {(row["user_key"], row["item_id"]): row for row in answer(pair_features, EVENTS, ITEMS, NOW)}


def test_only_pairs_with_history_have_a_row(pairs: dict[tuple[str, str], Any]) -> None:
    assert pairs.keys() == {("ann", "milk"), ("ann", "tea"), ("ann", "rope"), ("ann", "card"), ("bob", "milk")}


def test_decayed_counts_by_hand(pairs: dict[tuple[str, str], Any]) -> None:
    milk = pairs["ann", "milk"]
    assert milk["baskets"] == 3
    for half_life in (7, 30, 90, 365):
        expected = sum(0.5 ** (age / half_life) for age in (90, 60, 30))
        assert milk[f"decayed_{half_life}d"] == pytest.approx(expected)
    assert milk["decayed_30d"] == pytest.approx(1 / 8 + 1 / 4 + 1 / 2)


def test_an_item_is_due_by_the_own_gap_and_else_by_the_items(pairs: dict[tuple[str, str], Any]) -> None:
    names = ("days_since_last", "own_gap_days", "due")
    assert [pairs["ann", "milk"][name] for name in names] == pytest.approx([30, 30, 1])
    bob = pairs["bob", "milk"]
    assert (bob["days_since_last"], bob["own_gap_days"], bob["due"]) == (12, None, pytest.approx(12 / 30))
    assert pairs["ann", "tea"]["due"] is None  # no user has bought tea again


def test_a_gap_counts_as_a_day_at_least(answer: Any) -> None:
    events = [("ann", "milk", "purchase", NOW - 3 * DAY - ago, f"s{ago}", 1.0, 1.0) for ago in (0, 60)]
    milk = answer(pair_features, events, ITEMS, NOW)[0]
    assert milk["own_gap_days"] == pytest.approx(60 / DAY)
    assert milk["due"] == 3


def test_the_basket_share_is_of_the_users_own_baskets(pairs: dict[tuple[str, str], Any]) -> None:
    shares = {pair: row["basket_share"] for pair, row in pairs.items()}
    assert shares == {
        ("ann", "milk"): 3 / 4,
        ("ann", "tea"): 1 / 4,
        ("ann", "rope"): 0,
        ("ann", "card"): 1 / 4,
        ("bob", "milk"): 1,
    }


def test_category_recency_looks_at_the_top_level(pairs: dict[tuple[str, str], Any]) -> None:
    recency = {pair: row["category_recency_days"] for pair, row in pairs.items()}
    assert recency == {
        ("ann", "milk"): 30,
        ("ann", "tea"): 30,
        ("ann", "rope"): None,
        ("ann", "card"): None,
        ("bob", "milk"): 12,
    }


def test_views_count_for_seven_days(pairs: dict[tuple[str, str], Any]) -> None:
    assert pairs["ann", "rope"]["views_7d"] == 1
    assert pairs["ann", "milk"]["views_7d"] == 0


@pytest.mark.parametrize(
    ("then", "carted"),
    [
        ([], 1),
        ([("purchase", 9)], 1),
        ([("purchase", 10)], 0),
        ([("purchase", 11)], 0),
        ([("remove_from_cart", 9)], 1),
        ([("remove_from_cart", 10)], 0),
        ([("remove_from_cart", 11)], 0),
        ([("purchase", 11), ("add_to_cart", 12)], 1),
    ],
)
def test_the_cart_holds_what_was_neither_bought_nor_taken_out_since(answer: Any, then: Any, carted: int) -> None:
    events = [("ann", "milk", kind, moment) for kind, moment in [("add_to_cart", 10), *then]]
    assert [row["carted"] for row in answer(pair_features, events, ITEMS, NOW)] == [carted]

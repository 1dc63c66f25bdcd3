from typing import Any

import pytest

from models.features.expressions import sold
from models.features.tables.item_features import catalogue_features, departments, mean_prices

NOW = 100
EVENTS = [
    ("ann", "new", "purchase", 1, "s", 2.0, 6.0),
    ("ann", "new", "purchase", 2, "s", 1.0, 6.0),
    ("ann", "new", "view", 3, "s", 9.0, 99.0),
    ("ann", "new", "purchase", NOW, "s", 1.0, 99.0),
    ("ann", "gift", "purchase", 1, "s", 0.0, 0.0),
]


def ranks(answer: Any, *items: tuple[Any, ...]) -> dict[str, object]:
    seen = [("bob", item[0], "view", 0) for item in items]
    return {row["item_id"]: row["price_rank"] for row in answer(catalogue_features, [*EVENTS, *seen], items, NOW)}


def test_an_item_has_no_rank_before_its_first_event(answer: Any) -> None:
    items = [(name, "tea", None, price) for name, price in (("new", 1.0), ("gift", 2.0), ("later", 3.0))]
    events = [*EVENTS, ("bob", "later", "view", NOW)]
    assert {row["item_id"]: row["price_rank"] for row in answer(catalogue_features, events, items, NOW)} == {
        "new": 0,
        "gift": 1,
    }


def test_equal_prices_share_their_rank(answer: Any) -> None:
    prices = {"a": 1.0, "b": 3.0, "c": 3.0, "d": 9.0, "e": 20.0}
    result = ranks(answer, *((name, "tea", None, price) for name, price in prices.items()))
    assert result == {"a": 0, "b": 3 / 8, "c": 3 / 8, "d": 3 / 4, "e": 1}


def test_prices_that_differ_by_rounding_alone_are_equal(answer: Any) -> None:
    assert ranks(answer, ("a", "tea", None, 0.1 + 0.2), ("b", "tea", None, 0.3)) == {"a": 0.5, "b": 0.5}


def test_a_rank_is_among_those_of_the_same_whole_category_path(answer: Any) -> None:
    result = ranks(answer, ("a", "food|tea", None, 1.0), ("b", "food|tea", None, 2.0), ("c", "food|milk", None, 9.0))
    assert result == {"a": 0, "b": 1, "c": 0.5}


def test_an_item_without_a_listed_price_goes_by_what_was_paid(answer: Any) -> None:
    result = ranks(answer, ("a", "tea", None, 3.0), ("new", "tea", None, None), ("b", "tea", None, 5.0))
    assert result == {"a": 0, "new": 0.5, "b": 1}


def test_without_a_price_or_a_category_there_is_no_rank(answer: Any) -> None:
    result = ranks(answer, ("a", "tea", None, 3.0), ("b", "tea", None, None), ("c", None, None, 5.0))
    assert result == {"a": 0.5, "b": None, "c": None}


def test_mean_prices_are_money_by_pieces(answer: Any) -> None:
    rows = answer(lambda events, _, now: mean_prices(sold(events, now)), EVENTS, [], NOW)
    assert {row["item_id"]: row["mean_price"] for row in rows} == {"new": pytest.approx(4.0), "gift": None}


@pytest.mark.parametrize(
    ("path", "top"), [("food|tea|green", "food"), ("food", "food"), (None, None), ("a b|c", "a b"), ("", "")]
)
def test_the_top_level_is_what_comes_before_the_first_separator(answer: Any, path: str | None, top: str | None) -> None:
    rows = answer(lambda _, items, __: departments(items), [], [("a", path, None, None), ("b", "x", None, None)], NOW)
    assert {row["item_id"]: row["_department"] for row in rows} == {"a": top, "b": "x"}

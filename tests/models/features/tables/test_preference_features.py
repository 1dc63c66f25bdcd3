from math import log
from typing import Any

import pytest

from models.features.tables.item_features import catalogue_features
from models.features.tables.user_features import brands, departments, price_levels

NOW = 1_000
ITEMS = [
    ("milk", "food|dairy", "moo", 2.0),
    ("oat", "food|dairy", "hafer", 4.0),
    ("soy", "food|dairy", None, 6.0),
    ("rope", "tools", "axe", 1.0),
    ("card", None, "axe", 1.0),
]


def bought(*items: str) -> list[tuple[Any, ...]]:
    return [("ann", item, "purchase", moment, "s", 1.0, 1.0) for moment, item in enumerate(items)]


def features_of(answer: Any, part: Any, *items: str) -> dict[str, object]:
    rows = answer(lambda e, i, now: part(e, catalogue_features(e, i, now), now), bought(*items), ITEMS, NOW)
    return rows[0] if rows else {}


def test_category_affinity_by_hand(answer: Any) -> None:
    ann = features_of(answer, departments, "rope", "milk", "oat", "milk", "card", "unlisted")
    entropy = -(3 / 4 * log(3 / 4) + 1 / 4 * log(1 / 4))
    assert ann == {
        "user_key": "ann",
        "top_category": "food",
        "top_category_share": 3 / 4,
        "categories": 2,
        "category_entropy": pytest.approx(entropy),
    }


def test_brands_that_are_equal_go_by_name(answer: Any) -> None:
    ann = features_of(answer, brands, "milk", "rope", "oat", "card", "oat", "soy")
    assert ann == {
        "user_key": "ann",
        "top_brand": "axe",
        "top_brand_share": 2 / 5,
        "brands": 3,
        "brand_entropy": pytest.approx(-(2 * 2 / 5 * log(2 / 5) + 1 / 5 * log(1 / 5))),
    }


def test_one_brand_has_no_entropy_at_all(answer: Any) -> None:
    assert features_of(answer, brands, *["milk"] * 7)["brand_entropy"] == 0


def test_a_user_without_named_purchases_has_no_preferences(answer: Any) -> None:
    assert features_of(answer, brands, "soy", "unlisted") == {}


def test_the_price_level_is_the_mean_price_rank_of_what_was_bought(answer: Any) -> None:
    # In dairy milk is 0, oat 1/2 and soy 1; rope is alone and 1/2; the card has no category.
    assert features_of(answer, price_levels, "milk", "soy", "soy", "rope", "card")["price_level"] == pytest.approx(
        2.5 / 4
    )

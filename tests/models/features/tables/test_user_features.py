from math import log
from typing import Any

import pytest

from models.features.tables.item_features import catalogue_features, pair_features
from models.features.tables.user_features import brands, departments, price_levels, sequences, user_features, visits

DAY = 86_400
NOW = 400 * DAY
EVENTS = [
    ("ann", "milk", "purchase", 0, "s1", 2.0, 4.0),
    ("ann", "tea", "purchase", 0, "s1", 1.0, 6.0),
    ("ann", "milk", "purchase", 399 * DAY, "s2", 1.0, 2.0),
    ("ann", "milk", "purchase", 399 * DAY + 3600, "s3", 1.0, 3.0),
    ("ann", "milk", "purchase", 399 * DAY + 3700, "s3", 1.0, 3.0),
    ("bob", "milk", "purchase", 393 * DAY, "s2", 2.0, 4.0),  # ann's session id
    ("bob", "tea", "purchase", 390 * DAY, None, 1.0, None),
    ("bob", "tea", "purchase", 391 * DAY, None, 0.0, 6.0),
    ("bob", "gum", "purchase", NOW, "s9", 1.0, 1.0),  # now: not known yet
    ("bob", "gum", "purchase", 0, "s8", 1.0, 1.0, NOW),  # long ago, but received now
    ("cleo", "gum", "view", 1),
    ("dan", "gum", "purchase", NOW + 1, "s9", 1.0, 1.0),
]
ITEMS = [("milk", "food|dairy", "moo", 2.0), ("tea", "food|drinks", None, 6.0), ("cola", "food|drinks", "fizz", 1.0)]
MOMENT = 1_000
GOODS = [
    ("milk", "food|dairy", "moo", 2.0),
    ("oat", "food|dairy", "hafer", 4.0),
    ("soy", "food|dairy", None, 6.0),
    ("rope", "tools", "axe", 1.0),
    ("card", None, "axe", 1.0),
]
HOUR = 3600
EVENING = 100 * DAY
PAIRED = [
    ("milk", "food|dairy", "moo", 2.0),
    ("tea", "food|drinks", None, 6.0),
    ("rope", "tools", None, 1.0),
    ("card", None, None, 1.0),
]
DONE = [
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
def users(answer: Any) -> dict[str, object]:
    return {row["user_key"]: row for row in answer(user_features, EVENTS, ITEMS, NOW)}


def test_purchases_by_hand(users: dict[str, object]) -> None:
    assert users.keys() == {"ann", "bob", "cleo"}
    names = ("recency_days", "frequency", "monetary", "tenure_days", "active_days", "basket_value")
    ann = (1 - 3700 / DAY, 3, 18.0, 400, 2, 6.0)
    bob = (7, 3, 10.0, 10, 3, 10 / 3)
    assert [users["ann"][name] for name in names] == pytest.approx(ann)
    assert [users["bob"][name] for name in names] == pytest.approx(bob)


def test_a_user_who_only_viewed_has_no_purchase_and_no_time(users: dict[str, object]) -> None:
    cleo = users["cleo"]
    bought = ("frequency", "monetary", "active_days", "categories", "brands")
    never = ("recency_days", "tenure_days", "basket_value", "price_level", "top_category", "top_brand", "brand_entropy")
    assert [cleo[name] for name in bought] == [0, 0, 0, 0, 0]
    assert [cleo[name] for name in never] == [None] * 7
    assert cleo["sessions"] == 1


def bought(*items: str) -> list[tuple[Any, ...]]:
    return [("ann", item, "purchase", moment, "s", 1.0, 1.0) for moment, item in enumerate(items)]


def preferences_of(answer: Any, part: Any, *items: str) -> dict[str, object]:
    build = lambda e, i, now: part(e, catalogue_features(e, i, now), now)  # noqa: E731
    rows = answer(build, bought(*items), GOODS, MOMENT)
    return rows[0] if rows else {}


def test_category_affinity_by_hand(answer: Any) -> None:
    ann = preferences_of(answer, departments, "rope", "milk", "oat", "milk", "card", "unlisted")
    entropy = -(3 / 4 * log(3 / 4) + 1 / 4 * log(1 / 4))
    assert ann == {
        "user_key": "ann",
        "top_category": "food",
        "top_category_share": 3 / 4,
        "categories": 2,
        "category_entropy": pytest.approx(entropy),
    }


def test_brands_that_are_equal_go_by_name(answer: Any) -> None:
    ann = preferences_of(answer, brands, "milk", "rope", "oat", "card", "oat", "soy")
    assert ann == {
        "user_key": "ann",
        "top_brand": "axe",
        "top_brand_share": 2 / 5,
        "brands": 3,
        "brand_entropy": pytest.approx(-(2 * 2 / 5 * log(2 / 5) + 1 / 5 * log(1 / 5))),
    }


def test_one_brand_has_no_entropy_at_all(answer: Any) -> None:
    assert preferences_of(answer, brands, *["milk"] * 7)["brand_entropy"] == 0


def test_a_user_without_named_purchases_has_no_preferences(answer: Any) -> None:
    assert preferences_of(answer, brands, "soy", "unlisted") == {}


def test_the_price_level_is_the_mean_price_rank_of_what_was_bought(answer: Any) -> None:
    # In dairy milk is 0, oat 1/2 and soy 1; rope is alone and 1/2; the card has no category.
    assert preferences_of(answer, price_levels, "milk", "soy", "soy", "rope", "card")["price_level"] == pytest.approx(
        2.5 / 4
    )


def sequence_of(answer: Any, events: list[Any], **options: Any) -> list[tuple[Any, ...]]:
    rows = answer(lambda known, _, now: sequences(known, now, **options), events, [], MOMENT)
    return sorted((row["user_key"], row["position"], row["item_id"], row["event_type"]) for row in rows)


def test_the_latest_are_kept_and_the_oldest_of_them_comes_first(answer: Any) -> None:
    events = [("ann", f"i{moment}", "view", moment) for moment in (5, 3, 9, 7)]
    events += [
        ("bob", "tea", "purchase", 1),
        ("ann", "now", "view", MOMENT),
        ("ann", "late", "view", 1, "s", 1, 1, MOMENT),
    ]
    assert sequence_of(answer, events, length=3) == [
        ("ann", 0, "i5", "view"),
        ("ann", 1, "i7", "view"),
        ("ann", 2, "i9", "view"),
        ("bob", 0, "tea", "purchase"),
    ]


def test_events_of_one_moment_go_by_item_and_type_never_by_the_order_of_rows(answer: Any) -> None:
    events = [
        ("ann", "b", "purchase", 1, "s1"),
        ("ann", "a", "view", 1, "s2"),
        ("ann", "a", "view", 1, "s1"),
        ("ann", "a", "click", 1, "s2"),
        ("ann", "a", "like", 1, None),
    ]
    kinds = ["click", "like", "view", "view", "purchase"]
    for order in (events, events[::-1], events[2:] + events[:2]):
        assert [kind for *_, kind in sequence_of(answer, order)] == kinds


def test_only_what_users_did_with_liking_is_in_a_sequence(answer: Any) -> None:
    events = [("ann", "a", kind, 1) for kind in ("impression", "refund", "dislike", "remove_from_cart", "view")]
    assert sequence_of(answer, events) == [("ann", 0, "a", "view")]
    assert sequence_of(answer, events, event_types=["dislike"]) == [("ann", 0, "a", "dislike")]


def visited(answer: Any, *events: tuple[Any, ...], now: int = EVENING) -> dict[str, object]:
    rows = answer(lambda known, _, at: visits(known, at), [("ann", "milk", *event) for event in events], [], now)
    assert len(rows) <= 1
    return rows[0] if rows else {}


def test_half_an_hour_without_an_event_ends_a_session(answer: Any) -> None:
    ann = visited(answer, ("view", 0), ("view", 1799), ("click", 3598), ("view", 5398), ("purchase", 5408))
    assert ann["sessions"] == 2
    assert ann["mean_session_minutes"] == pytest.approx((3598 + 10) / 2 / 60)
    assert ann["events_per_session"] == 5 / 2


def test_sessions_of_two_users_do_not_meet(answer: Any) -> None:
    events = [("ann", "milk", "view", 0), ("bob", "milk", "view", 10), ("ann", "milk", "view", 20)]
    rows = answer(lambda known, _, now: visits(known, now), events, [], EVENING)
    assert {row["user_key"]: (row["sessions"], row["events_per_session"]) for row in rows} == {
        "ann": (1, 2.0),
        "bob": (1, 1.0),
    }


def test_engagement_weighs_types_and_halves_every_30_days(answer: Any) -> None:
    ann = visited(answer, ("purchase", EVENING - 30 * DAY), ("view", EVENING - 60 * DAY), ("impression", EVENING - DAY))
    assert ann["engagement"] == pytest.approx(10 / 2 + 1 / 4)


def test_half_hours_count_once_however_much_happens_in_them(answer: Any) -> None:
    thursday, saturday, sunday, monday = 0, 2 * DAY, 3 * DAY, 4 * DAY
    burst = [("view", thursday + 10 * HOUR + second) for second in range(9)]
    ann = visited(
        answer,
        *burst,
        ("view", saturday + 18 * HOUR),
        ("view", sunday + 24 * HOUR - 1),
        ("view", monday),
        ("view", saturday - 1),
    )
    assert ann["evening_share"] == 3 / 5
    assert ann["weekend_share"] == 2 / 5


@pytest.mark.parametrize(
    ("hours", "favourite"), [((7, 7.5, 30, 54), 6), ((23, 47, 1), 23), ((24, 0), 0), ((9, 32, 8, 33), 8)]
)
def test_the_favourite_hour_is_the_one_with_most_half_hours_and_then_the_earliest(
    answer: Any, hours: tuple[float, ...], favourite: int
) -> None:
    assert visited(answer, *(("view", int(hour * HOUR)) for hour in hours))["favourite_hour"] == favourite


def test_a_refund_is_no_visit(answer: Any) -> None:
    assert visited(answer, ("refund", 5)) == {}


@pytest.fixture
def pairs(answer: Any) -> dict[tuple[str, str], Any]:
    return {(row["user_key"], row["item_id"]): row for row in answer(pair_features, DONE, PAIRED, NOW)}


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
    milk = answer(pair_features, events, PAIRED, NOW)[0]
    assert milk["own_gap_days"] == pytest.approx(60 / DAY)
    assert milk["due"] == 3


def test_shares_recency_and_views_by_hand(pairs: dict[tuple[str, str], Any]) -> None:
    names = ("basket_share", "category_recency_days", "views_7d")
    assert {pair: tuple(row[name] for name in names) for pair, row in pairs.items()} == {
        ("ann", "milk"): (3 / 4, 30, 0),
        ("ann", "tea"): (1 / 4, 30, 0),  # the recency is that of the top level
        ("ann", "rope"): (0, None, 1),
        ("ann", "card"): (1 / 4, None, 0),
        ("bob", "milk"): (1, 12, 0),
    }


@pytest.mark.parametrize(
    ("then", "carted"),
    [
        ([], 1),
        ([("purchase", 9)], 1),
        ([("purchase", 10)], 0),
        ([("remove_from_cart", 9)], 1),
        ([("remove_from_cart", 10)], 0),
        ([("purchase", 11), ("add_to_cart", 12)], 1),
    ],
)
def test_the_cart_holds_what_was_neither_bought_nor_taken_out_since(answer: Any, then: Any, carted: int) -> None:
    events = [("ann", "milk", kind, moment) for kind, moment in [("add_to_cart", 10), *then]]
    assert [row["carted"] for row in answer(pair_features, events, PAIRED, NOW)] == [carted]

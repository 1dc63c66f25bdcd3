from collections import Counter
from typing import Any

import numpy as np
import pytest

from models.features.expressions import sold
from models.features.tables.item_features import SMOOTHING, catalogue_features, departments, item_features, mean_prices

DAY = 86_400
NOW = 400 * DAY
EVENTS = [
    ("ann", "milk", "purchase", 0, "s1", 2.0, 4.0),
    ("ann", "tea", "purchase", 0, "s1", 1.0, 6.0),
    ("ann", "milk", "purchase", 399 * DAY, "s2", 1.0, 2.0),
    ("ann", "milk", "purchase", 399 * DAY + 3600, "s3", 1.0, 3.0),
    ("ann", "milk", "purchase", 399 * DAY + 3700, "s3", 1.0, 3.0),  # the same basket once more
    ("bob", "milk", "purchase", 393 * DAY, "s2", 2.0, 4.0),  # the very edge of 7 days; ann's session id
    ("bob", "tea", "purchase", 390 * DAY, None, 1.0, None),
    ("bob", "tea", "purchase", 391 * DAY, None, 0.0, 6.0),
    ("bob", "gum", "purchase", NOW, "s9", 1.0, 1.0),  # now: not known yet
    ("cleo", "gum", "impression", 5),
]
ITEMS = [("milk", "food|dairy", "moo", 2.0), ("tea", "food|drinks", None, 6.0), ("cola", "food|drinks", "fizz", 1.0)]
LATER = 100
SALES = [
    ("ann", "new", "purchase", 1, "s", 2.0, 6.0),
    ("ann", "new", "purchase", 2, "s", 1.0, 6.0),
    ("ann", "new", "view", 3, "s", 9.0, 99.0),
    ("ann", "new", "purchase", LATER, "s", 1.0, 99.0),
    ("ann", "gift", "purchase", 1, "s", 0.0, 0.0),
]


def features_of(answer: Any, events: list[Any], items: list[Any] = ITEMS) -> dict[str, object]:
    return {row["item_id"]: row for row in answer(item_features, events, items, NOW)}


def test_purchases_by_hand(answer: Any) -> None:
    known = features_of(answer, EVENTS)
    names = ("popularity_7d", "popularity_28d", "popularity_365d", "distinct_users", "mean_price", "age_days")
    assert known.keys() == {"milk", "tea"}
    assert [known["milk"][name] for name in names] == pytest.approx([3, 3, 3, 2, 16 / 7, 400])
    assert [known["tea"][name] for name in names] == pytest.approx([0, 2, 2, 2, 12 / 2, 400])


def test_the_trend_is_one_when_this_week_is_like_the_others(answer: Any) -> None:
    weekly = [("ann", "even", "purchase", NOW - day * DAY, f"s{day}") for day in (1, 8, 15, 22)]
    known = features_of(answer, EVENTS + weekly)
    assert known["even"]["trend"] == 1
    assert known["milk"]["trend"] == (3 + 1) / (3 / 4 + 1)
    assert known["tea"]["trend"] == (0 + 1) / (2 / 4 + 1)


def test_repurchases_count_returning_users(answer: Any) -> None:
    later = [("bob", "milk", "purchase", 393 * DAY + moment, f"b{moment}") for moment in (DAY, 3 * DAY)]
    known = features_of(answer, EVENTS + later)
    # ann's gaps of milk, from the latest moment of one basket to that of the next: 399 days in all, over two gaps
    anns, bobs = (399 * DAY + 3700) / 2 / DAY, 3 / 2
    assert known["milk"]["repurchase_rate"] == 1
    assert known["milk"]["repurchase_gap_days"] == pytest.approx((anns + bobs) / 2)
    assert known["tea"]["repurchase_rate"] == 1 / 2
    assert known["tea"]["repurchase_gap_days"] == pytest.approx(1)


def test_conversions_by_hand(answer: Any) -> None:
    lately = NOW - DAY
    funnel = [
        ("ann", "hat", "view", lately),
        ("ann", "hat", "view", lately + 1),
        ("ann", "hat", "add_to_cart", lately),
        ("ann", "hat", "purchase", lately, "s"),
        ("bob", "hat", "view", lately),
        ("bob", "hat", "add_to_cart", lately),
        ("cleo", "hat", "view", lately),
        ("dan", "hat", "view", NOW - 28 * DAY - 1),  # too long ago
        ("ann", "cap", "view", NOW - 28 * DAY),
        ("bob", "cap", "add_to_cart", lately),
        ("bob", "bag", "purchase", lately, "s"),
    ]
    known = features_of(answer, funnel)
    hat, cap, bag, ten = known["hat"], known["cap"], known["bag"], SMOOTHING
    assert (hat["views_28d"], hat["carts_28d"], cap["views_28d"], cap["carts_28d"]) == (4, 2, 1, 1)
    assert hat["view_to_cart"] == pytest.approx((2 + ten * 2 / 4) / (3 + ten))
    assert cap["view_to_cart"] == pytest.approx((0 + ten * 2 / 4) / (1 + ten))
    assert hat["cart_to_purchase"] == pytest.approx((1 + ten * 1 / 3) / (2 + ten))
    assert hat["view_to_purchase"] == pytest.approx((1 + ten * 1 / 4) / (3 + ten))
    assert [bag[name] for name in ("view_to_cart", "cart_to_purchase", "view_to_purchase")] == [None] * 3


def test_an_item_only_looked_at_has_no_buyers(answer: Any) -> None:
    hat = features_of(answer, [("ann", "hat", "view", 5)])["hat"]
    assert (hat["popularity_365d"], hat["distinct_users"], hat["trend"]) == (0, 0, 1)
    assert [hat[name] for name in ("age_days", "mean_price", "repurchase_rate", "repurchase_gap_days")] == [None] * 4


def ranks(answer: Any, *items: tuple[Any, ...]) -> dict[str, object]:
    seen = [("bob", item[0], "view", 0) for item in items]
    return {row["item_id"]: row["price_rank"] for row in answer(catalogue_features, [*SALES, *seen], items, LATER)}


def test_an_item_has_no_rank_before_its_first_event(answer: Any) -> None:
    items = [(name, "tea", None, price) for name, price in (("new", 1.0), ("gift", 2.0), ("later", 3.0))]
    events = [*SALES, ("bob", "later", "view", LATER)]
    assert {row["item_id"]: row["price_rank"] for row in answer(catalogue_features, events, items, LATER)} == {
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
    rows = answer(lambda events, _, now: mean_prices(sold(events, now)), SALES, [], LATER)
    assert {row["item_id"]: row["mean_price"] for row in rows} == {"new": pytest.approx(4.0), "gift": None}


@pytest.mark.parametrize(
    ("path", "top"), [("food|tea|green", "food"), ("food", "food"), (None, None), ("a b|c", "a b"), ("", "")]
)
def test_the_top_level_is_what_comes_before_the_first_separator(answer: Any, path: str | None, top: str | None) -> None:
    rows = answer(lambda _, items, __: departments(items), [], [("a", path, None, None), ("b", "x", None, None)], LATER)
    assert {row["item_id"]: row["_department"] for row in rows} == {"a": top, "b": "x"}


SEASONAL = ("share_year_ago", "category_share_year_ago", "seasonal_index", "category_seasonal_index", "category_trend")
SHELVES = [(f"i{n}", (None, "home|light", "home|light", "home|tools", "food")[n % 5], None, 1.0) for n in range(20)]


def sales_of(begin: int, end: int, n: int = 900) -> list[tuple[Any, ...]]:
    """Purchases at random, in baskets of a day. The last items are new; those at a light are sold in some weeks."""
    random, rows = np.random.default_rng(begin + 1000), []
    for day in random.integers(begin, end, n).tolist():
        item = int(random.integers(20 if day >= 200 else 15))
        if SHELVES[item][1] != "home|light" or day % 364 < 80:
            rows.append((f"u{random.integers(9)}", f"i{item}", "purchase", day * DAY + 7, f"s{day}", 1.0, 1.0))
    return rows


def recounted(events: list[Any]) -> dict[str, list[float | None]]:
    """Return the seasonal features of each item, from rows alone."""
    lines = {(user, item, session): at for user, item, _, at, session, *_ in sorted(events) if at < NOW}
    first = {item: min(at for (_, other, _), at in lines.items() if other == item) for _, item, _ in lines}
    begin, paths = NOW - 364 * DAY, {row[0]: row[1] for row in SHELVES}

    def count(start: int, end: int) -> Counter[str]:
        return Counter(item for (_, item, _), at in lines.items() if start <= at < end)

    year, then, lately = (count(NOW - 365 * DAY, NOW), count(begin, begin + 28 * DAY), count(NOW - 28 * DAY, NOW))

    def indexes(counts: Counter[str], item: str, until: int) -> list[float]:
        path, result = paths[item], [1.0]
        tops = [other for other in first if path and (paths[other] or "").split("|")[0] == path.split("|")[0]]
        for peers in (tops, [other for other in first if path and paths[other] == path], [item]):
            above = result[-1]
            if any(first[other] < until for other in peers):
                expected = sum(year[other] for other in peers) / year.total() * counts.total()
                above = (sum(counts[other] for other in peers) + SMOOTHING * above) / (expected + SMOOTHING)
            result.append(above)
        return result[2:]

    result: dict[str, list[float | None]] = {}
    for item in first:
        category, own = indexes(then, item, begin + 28 * DAY)
        peers = sum(then[other] for other in first if paths[other] == paths[item])
        values = [then[item] / max(1, then.total()), peers / max(1, then.total()), own, category]
        old = min(first.values()) <= begin
        known = [old, old and paths[item], old, old and paths[item], paths[item]]
        values.append(indexes(lately, item, NOW)[0])
        result[item] = [value if there else None for value, there in zip(values, known, strict=True)]
    return result


@pytest.mark.parametrize("begin", [0, 36, 37, 150])
def test_seasonal_features_are_those_of_a_count_in_plain_python(answer: Any, begin: int) -> None:
    events = [*sales_of(begin, 420), ("u1", "i0", "purchase", begin * DAY, "first", 1.0, 1.0)]
    stated = {item: [row[name] for name in SEASONAL] for item, row in features_of(answer, events, SHELVES).items()}
    expected = recounted(events)
    assert {tuple(value is None for value in values) for values in expected.values()} == {
        (begin > 36, begin > 36 or not path, begin > 36, begin > 36 or not path, not path) for path in (None, "food")
    }
    assert stated.keys() == expected.keys()
    for item, values in expected.items():
        np.testing.assert_allclose(np.array(stated[item], float), np.array(values, float), rtol=1e-9, err_msg=item)


def test_a_category_that_is_sold_in_some_weeks_has_a_high_index_before_and_a_low_one_after_them(answer: Any) -> None:
    def lights(now: int) -> Any:
        rows = answer(item_features, sales_of(-400, 460, 6_000), SHELVES, now * DAY)
        return next(row["category_seasonal_index"] for row in rows if row["item_id"] == "i1")

    assert lights(364) > 2
    assert lights(364 + 81) < 0.5

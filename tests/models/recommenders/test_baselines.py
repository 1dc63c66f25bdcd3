from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from models.datasets.cold_start import NewUsers
from models.datasets.dataset import Dataset
from models.datasets.training_data import TrainingData
from models.errors import NoHistoryError, TailorbirdError
from models.recommenders.baselines.most_popular import MostPopular, popularity, popularity_by, seasonal_change
from models.recommenders.baselines.own_and_popular import WEIGHTS, Config, OwnAndPopular
from models.recommenders.baselines.own_frequency import Config as FrequencyConfig
from models.recommenders.baselines.own_frequency import OwnFrequency
from models.recommenders.baselines.segment_popular import Config as SegmentConfig
from models.recommenders.baselines.segment_popular import SegmentPopular
from models.recommenders.explanations.sentences import NONE
from tests.models.conftest import CUT, CUTS, DAY

ROWS = [
    ("a", "milk", 10, "1"),
    ("a", "milk", 55, "2"),
    ("a", "tea", 99, "3"),
    ("b", "wine", 99, "4"),
    ("c", "wine", 99, "5"),
]
FLAT = Config(half_life_days=1e9, popular_half_life_days=1e9)
MILK = [
    ("a", "milk", 10, "1"),
    ("a", "milk", 55, "2"),
    ("a", "tea", 99, "3"),
    ("b", "milk", 33.5, "4"),
]
NO_SCORE = -np.inf


def shop_of(bought_last: str) -> Dataset:
    """Users u have an own item, users v buy the best seller; before the cut users u buy one of the two again."""
    rows = [(f"u{user}", f"own{user}", 100 + day) for user in range(5) for day in range(2)]
    rows += [(f"v{user}", "best", 100 + day) for user in range(20) for day in range(2)]
    rows += [(f"u{user}", bought_last.format(user), 190) for user in range(5)]
    users, items = (sorted({row[column] for row in rows}) for column in (0, 1))
    at = [row[2] * DAY for row in rows]
    events = {"user_key": [row[0] for row in rows], "item_id": [row[1] for row in rows], "occurred_at": at}
    events |= {"received_at": at, "session_id": [f"{user} {day}" for user, _, day in rows]}
    events |= dict.fromkeys(("quantity", "value"), [1.0] * len(rows))
    texts = dict.fromkeys(("item_id", "title", "category", "brand"), items)
    catalogue = texts | {"price": [1.0] * len(items), "available": [True] * len(items)}
    return Dataset(CUTS, pa.table(events), pa.table({"user_key": users}), pa.table(catalogue))


def test_an_own_basket_counts_one_and_everybodys_share_of_baskets_the_weight(small) -> None:
    model = OwnAndPopular.fit(small(ROWS), FLAT, seed=0)
    shares = np.array([2, 1, 2]) / 5  # milk, tea, wine, of five baskets
    np.testing.assert_allclose(model.share, shares, rtol=1e-6)
    np.testing.assert_allclose(model.scores(np.zeros(1, np.int32))[0], model.weight * shares + [2, 1, 0], rtol=1e-6)


def test_own_items_have_their_history_as_the_reason_and_others_their_popularity(small) -> None:
    model = OwnAndPopular.fit(small(ROWS), FLAT, seed=0)
    users, items = np.array([0, 0, -1], np.int32), np.array([0, 2, 2], np.int32)
    own = model.own.reasons(users[:1], items[:1])
    assert model.reasons(users, items) == [*own, NONE, NONE]


def test_the_parts_of_a_score_sum_to_it_and_strangers_have_none(small) -> None:
    model = OwnAndPopular.fit(small(ROWS), FLAT, seed=0)
    scores = model.scores(np.zeros(1, np.int32))[0]
    for item in range(3):
        parts = model.contributions(0, item)
        assert sum(parts.values()) == pytest.approx(scores[item])
        assert list(parts.values()) == sorted(parts.values(), reverse=True)
    assert model.contributions(0, 2)["own baskets, older ones less"] == 0
    assert model.contributions(-1, 0) == model.contributions(0, -1) == {}


@pytest.mark.parametrize(("bought_last", "popular_wins"), [("own{}", False), ("best", True)])
def test_the_weight_is_the_best_one_on_the_weeks_before_the_cut(bought_last: str, popular_wins: bool) -> None:
    model = OwnAndPopular.fit(shop_of(bought_last).training_data(CUT), Config(), seed=0)
    assert (model.weight > WEIGHTS[0]) == popular_wins


def test_the_weight_does_not_change_with_what_is_bought_after_the_cut(shop) -> None:
    later = Dataset(CUTS, *shop)
    before = Dataset(CUTS, shop.interactions.filter(np.asarray(shop.interactions["occurred_at"]) < CUT), *shop[1:])
    weights = [OwnAndPopular.fit(data.training_data(CUT), Config(), seed=0).weight for data in (later, before)]
    assert weights[0] == weights[1]


def test_without_an_earlier_history_the_weight_is_the_untuned_one(small) -> None:
    assert OwnAndPopular.fit(small(ROWS), Config(), seed=0).weight == 3.0


@pytest.fixture
def model(small) -> OwnFrequency:
    return OwnFrequency.fit(small(MILK), FrequencyConfig(half_life_days=45), seed=0)


@pytest.mark.parametrize(
    ("days", "reason"),
    [
        ((10, 32, 52, 73), "You bought this on 4 days, about every 21 days, last on 15 March"),
        ((97, 98, 99), "You bought this on 3 days, about every day, last on 10 April"),
        ((99.001, 99.002, 99.003), "You bought this on 10 April"),  # three baskets within four minutes
        ((97, 98, 98.5), "You bought this on 2 days, last on 9 April"),
        ((10, 20, 30), "You bought this on 3 days, last on 31 January"),  # 70 days ago, and not 20 at most
        ((60, 70, 80), "You bought this on 3 days, about every 10 days, last on 22 March"),  # 20 days ago
        ((60, 70, 79.9), "You bought this on 3 days, last on 21 March"),
    ],
)
def test_a_habit_has_three_days_and_goes_on(small, days: tuple[float, ...], reason: str) -> None:
    data = small([("a", "milk", day, str(day)) for day in days])
    assert OwnFrequency.fit(data, FrequencyConfig(), 0).reasons(np.zeros(1, np.int32), np.zeros(1, np.int32)) == [
        reason
    ]


def test_a_model_of_an_earlier_version_that_lacks_an_array_is_refused_with_what_to_do(model: OwnFrequency) -> None:
    old = {name: value for name, value in model.state().items() if name != "days"}
    with pytest.raises(TailorbirdError, match=r"earlier version, without 'days': train and promote it again"):
        OwnFrequency.from_state(FrequencyConfig(), old)


def test_an_item_that_is_not_due_again_steps_back(small) -> None:
    milk = [("a", "milk", day, str(day)) for day in (40, 60, 99)]  # every 29.5 days, and a day ago
    tea = [("a", "tea", day, str(day)) for day in (41, 70)]  # every 29 days, and 30 days ago
    data = small([*milk, *tea, ("a", "wine", 99.5, "6")])  # once: nobody knows when the next is due
    user = np.zeros(1, np.int32)
    at_once, when_due = (
        OwnFrequency.fit(data, FrequencyConfig(45, exponent), 0).scores(user)[0] for exponent in (0, 0.5)
    )
    np.testing.assert_allclose(when_due / at_once, [(1 / 29.5) ** 0.5, 1, 1], rtol=1e-5)


def test_scores_equal_a_count_by_hand_over_a_whole_shop(data) -> None:
    model = OwnFrequency.fit(data, FrequencyConfig(), seed=0)
    expected = np.full((len(data.users), len(data.items)), -np.inf)
    for user, item, age in zip(data.user, data.item, data.age_days(), strict=True):
        expected[user, item] = np.maximum(expected[user, item], 0) + 2 ** (-age / 90)
    np.testing.assert_allclose(model.scores(np.arange(len(data.users), dtype=np.int32)), expected, rtol=1e-5)


@pytest.fixture(scope="module")
def halves() -> TrainingData:
    """41 users who bought once, 28 days before the cut: 20 in flats (`a`) a lamp, 20 in houses (`b`) a rake, and one of
    whom nothing is known a bell. One of the houses bought a bell too, 56 days before."""
    users = [f"{where}{number:02}" for where in "ab" for number in range(20)] + ["c"]
    rows = [(user, {"a": "lamp", "b": "rake", "c": "bell"}[user[0]], 72) for user in users] + [("b00", "bell", 44)]
    user, item, day = zip(*rows, strict=True)
    events = pa.table(
        {
            "user_key": user,
            "item_id": item,
            "occurred_at": [d * DAY for d in day],
            "received_at": [d * DAY for d in day],
            "session_id": [f"s{number}" for number in range(len(rows))],
            "quantity": [1.0] * len(rows),
            "value": [1.0] * len(rows),
        }
    )
    home = [{"a": "flat", "b": "house", "c": None}[user[0]] for user in users]
    # A user without purchases before the cut is in no segment, and their traits shape none.
    people = pa.table({"user_key": [*users, "never"], "home": [*home, "boat"]})
    names = ["bell", "lamp", "rake"]
    items = pa.table({"item_id": names, "title": names, "category": names, "brand": names, "price": [1.0] * 3})
    items = items.append_column("available", pa.array([True] * 3))
    return Dataset({}, events, people, items).training_data(100 * DAY)


def scored(model: SegmentPopular, *users: int) -> list[list[float]]:
    result: list[list[float]] = model.scores(np.array(users, np.int32)).tolist()
    return result


def test_users_get_the_decayed_baskets_of_their_segment_and_nothing_of_what_it_never_bought(
    halves: TrainingData,
) -> None:
    model = SegmentPopular.fit(halves, SegmentConfig(half_life_days=28), 0)
    assert halves.items.tolist() == ["bell", "lamp", "rake"]
    np.testing.assert_allclose(scored(model, 0, 20), [[NO_SCORE, 10, NO_SCORE], [0.25, NO_SCORE, 10]], rtol=1e-5)
    np.testing.assert_allclose(scored(model, 40), [[0.75, 10, 10]], rtol=1e-5)  # without a segment: what everybody buys


def test_a_reason_counts_customers_and_names_no_segment(halves: TrainingData) -> None:
    model = SegmentPopular.fit(halves, SegmentConfig(), 0)
    lately = {str(user) for user in halves.user[(halves.item == 1) & (halves.age_days() <= 28)]}
    reasons = model.reasons(np.array([0, 40, -1], np.int32), np.array([1, 1, 1], np.int32))
    assert reasons == [f"Bought by {len(lately)} customers in the last 28 days"] * 3


def test_a_newcomer_gets_the_best_sellers_of_users_with_the_same_traits(halves: TrainingData) -> None:
    model = SegmentPopular.fit(halves, SegmentConfig(half_life_days=28), 0)
    traits = pa.table({"user_key": ["n1", "n2", "n3"], "home": ["house", None, "boat"]})
    new = model.with_users(NewUsers.of(traits, pa.table({"user_key": [], "item_id": []}, _TEXT), model.items))
    result = scored(new, 0, 1, 2)
    np.testing.assert_allclose(result, [[0.25, NO_SCORE, 10], [NO_SCORE] * 3, [NO_SCORE] * 3], rtol=1e-5)


def test_segments_by_purchases_are_known_of_buyers_alone(data: TrainingData) -> None:
    model = SegmentPopular.fit(data, SegmentConfig(segments="rfm"), 0)
    assert {"champions", "loyal"} <= set(model.names.tolist())
    assert (model.segment > 0).all()
    traits = pa.table({"user_key": ["n"], "age": ["young"]})
    new = model.with_users(NewUsers.of(traits, pa.table({"user_key": [], "item_id": []}, _TEXT), model.items))
    assert scored(new, 0) == [[NO_SCORE] * len(model.items)]


def test_every_basket_is_counted_in_one_segment(data: TrainingData) -> None:
    forever = SegmentConfig(segments="rfm", half_life_days=1e9)
    counted: Any = SegmentPopular.fit(data, forever, 0).popularity
    np.testing.assert_allclose(counted[1:].sum(axis=0), np.bincount(data.item), rtol=1e-4)
    np.testing.assert_allclose(counted[0], np.bincount(data.item), rtol=1e-4)


def test_without_the_data_sets_traits_the_model_names_what_it_needs(data: TrainingData) -> None:
    with pytest.raises(NoHistoryError, match="segment_popular learns from features and traits"):
        SegmentPopular.fit(replace(data, origin=None), SegmentConfig(), 0)


_TEXT = pa.schema({"user_key": pa.string(), "item_id": pa.string()})


def test_a_basket_one_half_life_old_counts_half(small) -> None:
    data = small([("a", "x", 72, "1"), ("b", "x", 44, "2"), ("b", "y", 100 - 1e-3, "3")])
    model = MostPopular.fit(data, MostPopular.config_type(half_life_days=28), seed=0)
    np.testing.assert_allclose(model.popularity, [0.5 + 0.25, 1], rtol=1e-4)


WEEKS = (95, 155)
"""The days of each year on which the shop below sells lights."""
PATHS = {"bread": "food|fresh", "light": "home|seasonal", "nail": "home|tools"}


def years_of_sales(begin: int) -> list[tuple[str, str, float, str]]:
    """Bread is sold every day, a nail every third, and in their weeks three lights a day; 364 days are a year."""
    rows = []
    for day in range(begin, 100):
        items = ["bread"] + ["nail"] * (day % 3 == 0) + ["light"] * 3 * (WEEKS[0] <= day % 364 < WEEKS[1])
        rows += [(f"u{day % 7}", item, day + 0.5, f"{day} {number}") for number, item in enumerate(items)]
    return rows


def plain(data: TrainingData, half_life: float = 28.0) -> Any:
    """The decayed baskets of each item, without any season."""
    return np.bincount(data.item, 2 ** (-data.age_days() / half_life), minlength=len(data.items))


def test_an_item_that_sold_better_in_the_coming_weeks_a_year_ago_is_ahead_of_the_best_seller_until_now(small) -> None:
    data = small(years_of_sales(-700), PATHS)
    assert data.items[plain(data).argmax()] == "bread"
    assert data.items[popularity(data).argmax()] == "light"
    assert popularity(data)[0] < plain(data)[0]


def test_best_sellers_of_less_than_a_year_and_four_weeks_are_the_plain_ones(small) -> None:
    old, young = (small(years_of_sales(begin), PATHS) for begin in (100 - 392, 100 - 391))
    young = replace(young, occurred_at=young.occurred_at - DAY // 2)
    assert young.occurred_at.min() == (100 - 391) * DAY
    np.testing.assert_array_equal(popularity(young), plain(young).astype(np.float32))
    old = replace(old, occurred_at=old.occurred_at - DAY // 2)
    assert old.occurred_at.min() == (100 - 392) * DAY
    assert (popularity(old) != plain(old).astype(np.float32)).all()
    np.testing.assert_array_equal(popularity(replace(old, item_categories=np.full(3, ""))), plain(old).astype("f4"))


@pytest.mark.parametrize("half_life", [3.0, 28.0, 120.0])
def test_the_change_of_a_season_is_that_of_a_count_by_hand(small, half_life: float) -> None:
    random = np.random.default_rng(3)
    paths = {f"i{n}": ("", "a|x", "a|y", "b")[n % 4] for n in range(9)}
    days = random.uniform(-600, 100, 1500)
    items = [f"i{n}" for n in random.integers(9, size=1500)]
    data = small([("u", item, day, str(day)) for item, day in zip(items, days, strict=True)], paths)
    after = Counter(item for item, day in zip(items, days, strict=True) if -264 <= int(day * DAY) / DAY < -236)
    before: Counter[str] = Counter()
    for item, day in zip(items, days, strict=True):
        before[item] += 2 ** ((day + 264) / half_life) if day < -264 else 0
    growth = after.total() / before.total()
    weight = 10 * max(1, growth)
    for item, change in zip(data.items.tolist(), seasonal_change(data, half_life), strict=True):
        expected = 1.0
        for level in ({paths[item][:1]}, {paths[item], None}) if paths[item] else ():
            peers = [one for one, path in paths.items() if path in level or path[:1] in level]
            sums = [sum(counts[one] for one in peers) for counts in (after, before)]
            expected = (sums[0] + weight * expected) / (sums[1] * growth + weight)
        assert change == pytest.approx(min(max(expected, 0.25), 4), rel=1e-6)


def test_segments_have_the_season_of_the_shop(small) -> None:
    data = small(years_of_sales(-700), PATHS)
    groups = np.arange(len(data.users), dtype=np.int32) % 2
    np.testing.assert_allclose(popularity_by(data, groups, 2, 28.0).sum(axis=0), popularity(data), rtol=1e-6)

import numpy as np
import pyarrow as pa
import pytest

from models.datasets.dataset import Dataset
from models.recommenders.baselines.own_and_popular import WEIGHTS, Config, OwnAndPopular
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

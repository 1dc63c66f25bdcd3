from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from models.datasets.cold_start import NewUsers
from models.datasets.dataset import Dataset
from models.datasets.training_data import TrainingData
from models.errors import NoHistoryError
from models.recommenders.baselines.most_popular import Config as PopularConfig
from models.recommenders.baselines.most_popular import MostPopular
from models.recommenders.baselines.segment_popular import Config, SegmentPopular

DAY = 86_400
NO_SCORE = -np.inf


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
    model = SegmentPopular.fit(halves, Config(half_life_days=28), 0)
    assert halves.items.tolist() == ["bell", "lamp", "rake"]
    np.testing.assert_allclose(scored(model, 0, 20), [[NO_SCORE, 10, NO_SCORE], [0.25, NO_SCORE, 10]], rtol=1e-5)
    np.testing.assert_allclose(scored(model, 40), [[0.75, 10, 10]], rtol=1e-5)  # without a segment: what everybody buys


def test_a_reason_counts_customers_and_names_no_segment(halves: TrainingData) -> None:
    model = SegmentPopular.fit(halves, Config(), 0)
    lately = {str(user) for user in halves.user[(halves.item == 1) & (halves.age_days() <= 28)]}
    reasons = model.reasons(np.array([0, 40, -1], np.int32), np.array([1, 1, 1], np.int32))
    assert reasons == [f"Bought by {len(lately)} customers in the last 28 days"] * 3


def test_a_newcomer_gets_the_best_sellers_of_users_with_the_same_traits(halves: TrainingData) -> None:
    model = SegmentPopular.fit(halves, Config(half_life_days=28), 0)
    traits = pa.table({"user_key": ["n1", "n2", "n3"], "home": ["house", None, "boat"]})
    new = model.with_users(NewUsers.of(traits, pa.table({"user_key": [], "item_id": []}, _TEXT), model.items))
    result = scored(new, 0, 1, 2)
    np.testing.assert_allclose(result, [[0.25, NO_SCORE, 10], [NO_SCORE] * 3, [NO_SCORE] * 3], rtol=1e-5)


def test_segments_by_purchases_are_known_of_buyers_alone(data: TrainingData) -> None:
    model = SegmentPopular.fit(data, Config(segments="rfm"), 0)
    assert {"champions", "loyal"} <= set(model.names.tolist())
    assert (model.segment > 0).all()
    traits = pa.table({"user_key": ["n"], "age": ["young"]})
    new = model.with_users(NewUsers.of(traits, pa.table({"user_key": [], "item_id": []}, _TEXT), model.items))
    assert scored(new, 0) == [[NO_SCORE] * len(model.items)]


def test_every_basket_is_counted_in_one_segment(data: TrainingData) -> None:
    forever = Config(segments="rfm", half_life_days=1e9)
    counted: Any = SegmentPopular.fit(data, forever, 0).popularity
    np.testing.assert_allclose(counted[1:].sum(axis=0), np.bincount(data.item), rtol=1e-4)
    np.testing.assert_allclose(counted[0], np.bincount(data.item), rtol=1e-4)


def test_without_the_data_sets_traits_the_model_names_what_it_needs(data: TrainingData) -> None:
    with pytest.raises(NoHistoryError, match="segment_popular learns from features and traits"):
        SegmentPopular.fit(replace(data, origin=None), Config(), 0)


_TEXT = pa.schema({"user_key": pa.string(), "item_id": pa.string()})


def test_a_basket_one_half_life_old_counts_half(small) -> None:
    data = small([("a", "x", 72, "1"), ("b", "x", 44, "2"), ("b", "y", 100 - 1e-3, "3")])
    model = MostPopular.fit(data, PopularConfig(half_life_days=28), seed=0)
    np.testing.assert_allclose(model.popularity, [0.5 + 0.25, 1], rtol=1e-4)

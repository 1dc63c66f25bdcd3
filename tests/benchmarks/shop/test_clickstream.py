"""Tests that clicks follow the published law, so that a model and an estimate can be compared with the truth."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.shop.clickstream import Clickstream, clickstream
from benchmarks.shop.impressions import BUY_RATE, CART_RATE, LENGTH


@pytest.fixture(scope="module")
def stream() -> Clickstream:
    return clickstream(users=2_000, items=600, sessions=12_000, seed=7)


@pytest.fixture(scope="module")
def events(stream: Clickstream) -> pd.DataFrame:
    return stream.events.to_pandas()


@pytest.fixture(scope="module")
def truth(stream: Clickstream, events: pd.DataFrame) -> pd.DataFrame:
    """Return the truth about each impression, and whether it was clicked."""
    key = ["recommendation_id", "item_id"]
    clicks = events.loc[events.event_type == "click", key].assign(clicked=1)
    return stream.truth.to_pandas().merge(clicks, on=key, how="left").fillna({"clicked": 0})


def test_the_same_seed_gives_the_same_tables_and_another_seed_others() -> None:
    one, again, other = (clickstream(users=50, items=250, sessions=100, seed=seed) for seed in (3, 3, 4))
    assert all(table.equals(same) for table, same in zip(one, again, strict=True))
    assert not any(table.equals(same) for table, same in zip(one, other, strict=True))


def test_clicks_come_as_often_as_the_true_probability_states(truth: pd.DataFrame) -> None:
    tenth = pd.qcut(truth.click_probability, 10, labels=False)
    values = truth.groupby(tenth)[["click_probability", "clicked"]].mean()
    count = truth.groupby(tenth).size()
    deviation = np.sqrt(values.click_probability * (1 - values.click_probability) / count)
    assert (abs(values.clicked - values.click_probability) < 4 * deviation).all()
    assert 0.7 < roc_auc_score(truth.clicked, truth.click_probability) < 0.9


def test_the_first_position_is_clicked_most_and_the_last_least(truth: pd.DataFrame) -> None:
    rate = truth.groupby("position").clicked.mean()
    assert rate.index.tolist() == list(range(1, LENGTH + 1))
    assert rate[1] > 2 * rate[LENGTH]


def test_taste_and_not_only_the_item_decides(truth: pd.DataFrame) -> None:
    """Return the difference between the likeliest and unlikeliest users of the same item and position."""
    apart = truth.groupby(["item_id", "position"]).click_probability.agg(["min", "max", "size"])
    assert (apart["max"] / apart["min"])[apart["size"] > 50].median() > 5


def test_every_impression_has_its_truth_and_no_list_shows_an_item_twice(
    events: pd.DataFrame, truth: pd.DataFrame
) -> None:
    key = ["recommendation_id", "user_id", "item_id", "position"]
    shown = events.loc[events.event_type == "impression", key].sort_values(key).to_numpy()
    assert (shown == truth[key].sort_values(key).to_numpy()).all()
    assert not truth.duplicated(["recommendation_id", "item_id"]).any()
    assert (truth.groupby("recommendation_id").size() == LENGTH).all()


def test_propensities_are_those_of_the_lists_that_were_shown(events: pd.DataFrame, truth: pd.DataFrame) -> None:
    """Weighted by one over its propensity, an impression counts every item on sale once per list."""
    shown = events.loc[events.event_type == "impression", ["recommendation_id", "item_id", "occurred_at"]]
    late = truth.merge(shown[shown.occurred_at >= "2023-03-24"], on=["recommendation_id", "item_id"])
    lists, sold = late.recommendation_id.nunique(), late.item_id.nunique()
    assert (1 / late.propensity).sum() / lists / LENGTH == pytest.approx(sold, rel=0.05)


def test_events_that_follow_a_click_carry_its_list_and_come_later(events: pd.DataFrame) -> None:
    key, listed = ["recommendation_id", "item_id"], events[events.recommendation_id.notna()]
    at = {kind: rows.set_index(key).occurred_at for kind, rows in listed.groupby("event_type")}
    for before, after, rate in (
        ("impression", "click", None),
        ("click", "view", 1.0),
        ("click", "add_to_cart", CART_RATE),
        ("add_to_cart", "purchase", BUY_RATE),
    ):
        assert (at[after] >= at[before].loc[at[after].index]).all()
        if rate is not None:
            assert len(at[after]) / len(at[before]) == pytest.approx(rate, rel=0.1)
    assert events.occurred_at.is_monotonic_increasing


def test_purchases_without_a_list_come_on_demand() -> None:
    kinds = clickstream(users=50, items=250, sessions=0, seed=3, purchases=400, months=2).events.to_pandas()
    assert kinds.recommendation_id.isna().all()
    assert kinds.event_type.value_counts().to_dict() == {"view": 400, "add_to_cart": 400, "purchase": 400}
    assert kinds.occurred_at.max() < pd.Timestamp("2023-03-01", tz="UTC")

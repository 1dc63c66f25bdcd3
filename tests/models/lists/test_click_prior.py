from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from models.datasets.cold_start import NewUsers
from models.lists.model_cascade import ClickPrior
from models.recommenders.item_based.item_knn import Config, ItemKNN

BASKETS = [("a", "cup", 99, "1"), ("a", "tea", 99, "1"), ("b", "bell", 99, "2"), ("b", "saw", 99, "2")]


@pytest.fixture
def prior(small) -> ClickPrior:
    """Of bell, cup, saw and tea one goes with one other; `n` clicked the cup twice, `z` nothing."""
    model = ItemKNN.fit(small(BASKETS), Config(), 0)
    clicks = pa.table({"user_key": ["n", "n"], "item_id": ["cup", "cup"]})
    new = NewUsers.of(pa.table({"user_key": ["n", "z"]}), clicks, model.items)
    bought = np.array([6, 2, 2, 0])
    return ClickPrior(model.with_users(new), new.events, bought.astype(np.float32), buyers=bought.astype(np.int32))


def test_popularity_the_clicks_and_what_goes_with_them_add_up_as_shares(prior: ClickPrior) -> None:
    assert prior.items.tolist() == ["bell", "cup", "saw", "tea"]
    scores = prior.scores(np.array([0], np.int32))[0]
    np.testing.assert_allclose(scores, [0.6, 0.2 + 2 * 0.01, 0.2, 2 * 0.1], rtol=1e-5)


def test_a_reason_is_that_of_the_greatest_part(prior: ClickPrior) -> None:
    users, items = np.zeros(4, np.int32), np.arange(4, dtype=np.int32)
    popular, *others, clicked = prior.reasons(users, items)
    assert (popular, clicked) == ("Bought by 6 customers in the last 28 days", "Because you looked at cup")
    assert others == ["You may like this"] * 2
    rare = replace(prior, popularity=np.array([6, 0, 2, 0], np.float32))
    assert rare.reasons(users[:1], np.array([1], np.int32)) == ["You looked at this"]


def test_an_item_without_purchases_or_clicks_is_not_scored(prior: ClickPrior) -> None:
    unsold = replace(prior, popularity=np.array([0, 2, 2, 0], np.float32))
    assert np.isfinite(unsold.scores(np.array([0], np.int32))[0]).tolist() == [False, True, True, True]


def test_a_user_without_clicks_and_a_stranger_are_left_to_the_model(prior: ClickPrior) -> None:
    assert (prior.scores(np.array([1, -1], np.int32)) == -np.inf).all()
    assert prior.reasons(np.array([1, -1], np.int32), np.array([1, 1], np.int32)) == ["You may like this"] * 2

"""New users are served without another fit."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse

from models import catalog
from models.catalog import CATALOG
from models.datasets.cold_start import NewUsers
from models.datasets.dataset import Dataset
from models.datasets.training_data import TrainingData, build
from models.recommenders.baselines.most_popular import MostPopular
from models.recommenders.protocols import FoldsInUsers, Recommender
from tests.models.reference_ranking import top_k
from tests.models.trainable import TRAINABLE, quick_config

CUT = 200 * 86_400
FRUIT, TOOLS = slice(0, 20), slice(20, 40)
FOLDING = [kind for kind in TRAINABLE if hasattr(CATALOG[kind], "with_users")]
BY_CLICKS = [kind for kind in FOLDING if kind != "segment_popular"]
NO_CLICKS: dict[str, list[str]] = {"user_key": [], "item_id": []}
TEXT = pa.schema({"user_key": pa.string(), "item_id": pa.string()})


@pytest.fixture(scope="module")
def tastes(shop) -> TrainingData:
    """The small shop with a trait that shows taste: even users garden and like fruit, odd users build."""
    hobby = pa.array(["garden" if number % 2 == 0 else "build" for number in range(shop.users.num_rows)])
    users = shop.users.select(["user_key"]).append_column("hobby", hobby)
    dataset = Dataset({}, shop.interactions, users, shop.items)
    return build(shop.interactions, users, shop.items, CUT, ("hobby",), ("category",), dataset)


@pytest.fixture(scope="module")
def models(tastes: TrainingData) -> dict[str, Recommender]:
    return {kind: CATALOG[kind].fit(tastes, quick_config(kind), 5) for kind in FOLDING}


def newcomers(model: Any, traits: dict[str, list[Any]], clicks: dict[str, list[str]] | None = None) -> NewUsers:
    return NewUsers.of(pa.table(traits), pa.table(clicks or NO_CLICKS, TEXT), model.items)


def scores_of(model: Any) -> np.ndarray:
    return model.scores(np.arange(len(model.users), dtype=np.int32))


@pytest.mark.parametrize("kind", ["segment_popular", "lightfm_hybrid"])
def test_a_new_user_gets_what_users_with_the_same_traits_buy(kind: str, models: dict[str, Recommender]) -> None:
    model = models[kind]
    new = model.with_users(newcomers(model, {"user_key": ["n1", "n2"], "hobby": ["garden", "build"]}))
    gardener, builder = scores_of(new)
    assert gardener[FRUIT].mean() > gardener[TOOLS].mean()
    assert builder[FRUIT].mean() < builder[TOOLS].mean()


@pytest.mark.parametrize("kind", FOLDING)
@pytest.mark.parametrize("traits", [{}, {"hobby": [None]}, {"hobby": ["chess"]}])
def test_a_new_user_without_any_gets_the_best_sellers(
    kind: str, traits: dict[str, list[str]], models: dict[str, Recommender], tastes: TrainingData
) -> None:
    new = models[kind].with_users(newcomers(models[kind], {"user_key": ["n"], **traits}))
    assert (scores_of(new) == -np.inf).all()
    popularity = MostPopular.fit(tastes, MostPopular.config_type(), 0).popularity
    ranking = top_k(scores_of(new), 5, fallback=popularity)
    assert ranking.items[0].tolist() == np.argsort(-popularity, kind="stable")[:5].tolist()


@pytest.mark.parametrize("kind", BY_CLICKS)
def test_a_new_user_with_three_clicks_gets_more_of_their_kind(kind: str, models: dict[str, Recommender]) -> None:
    model = models[kind]
    assert isinstance(model, FoldsInUsers)
    clicks = {"user_key": ["n1"] * 3 + ["n2"] * 3, "item_id": ["i01", "i02", "i03", "i21", "i22", "i23"]}
    fruity, handy = scores_of(model.with_users(newcomers(model, {"user_key": ["n2", "n1"]}, clicks)))
    assert fruity[FRUIT].mean() > fruity[TOOLS].mean()
    assert handy[FRUIT].mean() < handy[TOOLS].mean()


@pytest.mark.parametrize("kind", FOLDING)
def test_clicks_on_unknown_items_and_of_unknown_users_give_no_score(kind: str, models: dict[str, Recommender]) -> None:
    clicks = {"user_key": ["n", "somebody"], "item_id": ["nowhere", "i01"]}
    new = models[kind].with_users(newcomers(models[kind], {"user_key": ["n"]}, clicks))
    assert (scores_of(new) == -np.inf).all()


@pytest.mark.parametrize("kind", BY_CLICKS)
def test_no_reason_calls_a_click_a_purchase(kind: str, models: dict[str, Recommender]) -> None:
    model = models[kind]
    new = model.with_users(newcomers(model, {"user_key": ["n"]}, {"user_key": ["n"], "item_id": ["i01"]}))
    reasons = new.reasons(np.zeros(45, np.int32), np.arange(45, dtype=np.int32))
    assert not [reason for reason in reasons if "bought" in reason or "buy" in reason]
    assert any("ou looked at" in reason for reason in reasons)


@pytest.mark.parametrize("kind", FOLDING)
def test_a_stored_model_serves_newcomers_as_before(kind: str, models: dict[str, Recommender]) -> None:
    model = models[kind]
    again = catalog.from_state(kind, asdict(model.config), model.state())
    new = newcomers(model, {"user_key": ["n"], "hobby": ["build"]}, {"user_key": ["n"], "item_id": ["i01"]})
    np.testing.assert_array_equal(scores_of(again.with_users(new)), scores_of(model.with_users(new)))


def test_new_users_are_sorted_and_their_repeated_clicks_add_up() -> None:
    traits = pa.table({"user_key": ["b", "a"], "age": ["old", "young"]})
    clicks = pa.table({"user_key": ["b", "b", "a"], "item_id": ["x", "x", "y"]})
    new = NewUsers.of(traits, clicks, np.array(["x", "y"]))
    assert new.keys.tolist() == ["a", "b"]
    assert new.traits["age"].to_pylist() == ["young", "old"]
    assert new.events.toarray().tolist() == [[0, 1], [2, 0]]


def test_clicks_keep_their_order_and_repeats() -> None:
    clicks = pa.table({"user_key": ["b", "a", "b", "b"], "item_id": ["z", "y", "x", "z"]})
    order = NewUsers.of(pa.table({"user_key": ["a", "b"]}), clicks, np.array(["x", "y", "z"])).in_order()
    assert order.items.tolist() == [1, 2, 0, 2]
    assert order.ends.tolist() == [0, 1, 4]


def test_clicks_of_unknown_order_come_by_item() -> None:
    clicks = sparse.csr_array(np.array([[0, 0, 2], [1, 1, 0]], dtype=np.float32))
    order = NewUsers(np.array(["a", "b"]), None, clicks).in_order()
    assert order.items.tolist() == [2, 2, 0, 1]
    assert order.ends.tolist() == [0, 2, 4]

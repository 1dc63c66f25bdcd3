"""The model knows the order of events, of users it learned from and of visitors with three clicks."""

import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from models.datasets.cold_start import NewUsers
from models.datasets.dataset import Dataset
from models.datasets.training_data import TrainingData
from models.errors import TailorbirdError
from models.recommenders.explanations.sentences import parse
from models.recommenders.sequence.histories import CART, PURCHASE, VIEW, Histories
from models.recommenders.sequence.model import NONE, SequenceModel, TrainingExtraMissingError, nearest_two, sentences
from models.recommenders.sequence.network_settings import Config
from tests.models.conftest import CUT, CUTS, DAY, Shop
from tests.models.trainable import NEEDS_TORCH

STEPS = 12
QUICK = Config(
    dimensions=16, blocks=1, length=6, epochs=60, dropout=0.0, learning_rate=0.01, validation_users=0, horizon_days=0.0
)


@pytest.fixture(scope="module")
def circle(small) -> TrainingData:
    """Users who walk a circle of items, half of them backwards: only the order shows what comes next."""
    rows = []
    for start in range(STEPS):
        for name, way in (("on", 1), ("back", -1)):
            walk = [(start + way * step) % STEPS for step in range(7)]
            rows += [(f"{name}{start:02}", f"i{item:02}", 80 + day, str(day)) for day, item in enumerate(walk)]
    return small(rows)


@pytest.fixture(scope="module")
def walked(circle: TrainingData) -> SequenceModel:
    return SequenceModel.fit(circle, QUICK, 1)


def next_of(model: SequenceModel, clicks: list[int]) -> int:
    """Return the first item for a visitor with these clicks."""
    seen = pa.table({"user_key": ["n"] * len(clicks), "item_id": [f"i{item:02}" for item in clicks]})
    new = model.with_users(NewUsers.of(pa.table({"user_key": ["n"]}), seen, model.items))
    return int(new.scores(np.array([0], np.int32))[0].argmax())


@NEEDS_TORCH
def test_the_next_item_follows_from_the_order(walked: SequenceModel, circle: TrainingData) -> None:
    best = walked.scores(np.arange(len(circle.users), dtype=np.int32)).argmax(axis=1)
    way = {"on": 7, "back": -7}
    expected = [(int(key[-2:]) + way[key[:-2]]) % STEPS for key in circle.users.tolist()]
    assert np.mean(best == expected) > 0.9


@NEEDS_TORCH
def test_an_item_that_a_user_buys_again_and_again_comes_first(small) -> None:
    data = small([(f"u{user:02}", f"i{user:02}", day, str(day)) for user in range(40) for day in (20, 40, 60, 80)])
    users = np.arange(40, dtype=np.int32)
    apart, without = (
        SequenceModel.fit(data, replace(QUICK, epochs=1, validation_users=9, repeats=repeats), 1)
        for repeats in (True, False)
    )
    assert (apart.scores(users).argmax(axis=1) == users).all()
    assert not (without.scores(users).argmax(axis=1) == users).all()
    np.testing.assert_allclose(apart.pair_scores(users, users), np.diag(apart.scores(users)), rtol=1e-5)


@NEEDS_TORCH
def test_three_clicks_of_a_visitor_show_which_way_to_go(walked: SequenceModel) -> None:
    assert [next_of(walked, [3, 4, 5]), next_of(walked, [5, 4, 3])] == [6, 2]


@NEEDS_TORCH
def test_a_reason_names_own_items(walked: SequenceModel, circle: TrainingData) -> None:
    titled = replace(walked, titles=np.array([f"Step {item}" for item in range(STEPS)]))
    (reason,) = titled.reasons(np.array([0], np.int32), np.array([11], np.int32))
    own = {f"Step {item}" for item in circle.item[circle.user == 0]}
    found = parse(reason)
    assert found is not None
    assert found.kind in {"bought_item", "bought_items"}
    assert {*found.parameters} <= own - {"Step 11"}


@NEEDS_TORCH
def test_a_history_of_one_event_can_be_learned_from_and_scored(small) -> None:
    data = small([("a", "x", 1, "1"), ("b", "y", 2, "1"), ("b", "x", 3, "2")])
    scores = SequenceModel.fit(data, replace(QUICK, epochs=2), 1).scores(np.array([0, 1], np.int32))
    assert np.isfinite(scores).all()


@NEEDS_TORCH
def test_without_two_events_of_any_user_there_is_a_model_all_the_same(small) -> None:
    model = SequenceModel.fit(small([("a", "x", 1, "1"), ("b", "y", 2, "1")]), QUICK, 1)
    assert np.isfinite(model.scores(np.array([0], np.int32))).all()
    assert model.curve.shape == (0, 2)


def test_without_pytorch_the_error_names_what_to_install(small, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("models.recommenders.sequence.training")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(TrainingExtraMissingError, match=r"torch.*pip install 'tailorbird\[sequence\]'"):
        SequenceModel.fit(small([("a", "x", 1, "1")]), Config(), 1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"network": "lstm"}, "'lstm'.*gru"), ({"loss": "hinge"}, "'hinge'.*gbce"), ({"heads": 7}, "7 heads.*64")],
)
def test_settings_that_cannot_be_are_refused(small, settings: dict[str, str], words: str) -> None:
    with pytest.raises(TailorbirdError, match=words):
        SequenceModel.fit(small([("a", "x", 1, "1")]), replace(Config(), **settings), 1)


@NEEDS_TORCH
def test_the_network_serves_later_data_with_new_items_by_their_tags(shop: Shop) -> None:
    late, moment = ["i05", "i06"], 150 * DAY
    rows = shop.interactions
    early = pc.and_(pc.is_in(rows["item_id"], pa.array(late)), pc.less(rows["occurred_at"], moment))
    untagged = pc.equal(shop.items["item_id"], "i06")
    items = shop.items
    for name in ("category", "brand"):
        values = pc.if_else(untagged, pa.scalar(None, pa.string()), items[name])
        items = items.set_column(items.column_names.index(name), name, values)
    dataset = Dataset(CUTS, rows.filter(pc.invert(early)), shop.users, items)
    before, after = dataset.training_data(moment), dataset.training_data(CUT)
    model = SequenceModel.fit(before, replace(QUICK, epochs=2, length=60), 1)
    moved = model.moved_to(after)
    assert sorted({*after.items.tolist()} - {*before.items.tolist()}) == late
    known = np.isin(after.items, before.items)
    np.testing.assert_array_equal(moved.item_vectors[known], model.item_vectors)
    scores = moved.scores(np.arange(len(after.users), dtype=np.int32))
    assert np.isfinite(scores[:, after.items != "i06"]).all()
    assert np.isinf(scores[:, after.items == "i06"]).all()
    np.testing.assert_array_equal(moved.history.toarray(), after.history().toarray())


# Items 0 to 2 point one way, 3 the other way, and 4 is the listed item.
VECTORS = np.array([[1, 0], [1, 0.1], [1, 0.9], [-1, 0], [1, 0]], dtype=np.float32)
LISTED = np.array([4], dtype=np.int32)


def history(items: list[int], gaps: list[int], kinds: list[int] | int = PURCHASE, *ends: int) -> Histories:
    columns = (np.full(len(items), values, np.uint8) for values in (gaps, kinds))
    return Histories(np.array(items, np.int32), *columns, np.array([0, len(items), *ends]))


def evidence(items: list[int], gaps: list[int], kinds: list[int] | int = PURCHASE) -> tuple[int, int]:
    found = nearest_two(history(items, gaps, kinds), VECTORS, np.array([0], np.int32), LISTED)
    return int(found.earlier[0]), int(found.later[0])


@pytest.mark.parametrize("items", [[0, 2, 1], [1, 0, 2]])
def test_the_nearest_two_come_in_the_order_of_the_user(items: list[int]) -> None:
    assert evidence(items, [5, 5, 5]) == tuple(item for item in items if item != 2)


def test_items_of_one_moment_have_no_order_unless_they_are_clicks() -> None:
    assert evidence([0, 1], [0, 5]) == (NONE, 0)
    assert evidence([1, 0], [0, 5], VIEW) == (1, 0)


def test_purchases_count_before_other_acts() -> None:
    kinds = [PURCHASE, CART, VIEW, PURCHASE]
    assert evidence([2, 0, 0, 1], [5, 5, 5, 5], kinds) == (2, 1)
    found = nearest_two(history([0], [5], VIEW), VECTORS, np.array([0], np.int32), LISTED)
    assert not found.bought.any()


def test_the_listed_item_and_opposite_ones_are_no_evidence() -> None:
    assert evidence([4, 0, 3], [5, 5, 5]) == (NONE, 0)
    assert evidence([4, 3], [5, 5]) == (NONE, NONE)


def test_an_item_counts_at_its_latest_event() -> None:
    assert evidence([0, 1, 0], [5, 5, 5]) == (1, 0)


def test_strangers_and_users_without_events_have_none() -> None:
    own = history([0], [5], VIEW, 1)
    users = np.array([-1, 1, 0], np.int32)
    found = nearest_two(own, VECTORS, users, np.array([4, 4, 4], np.int32))
    titles = np.array(["Tea", "Cup", "Pot", "Saw", "Kettle"])
    assert sentences(titles, found) == ["You may like this"] * 2 + ["Because you looked at Tea"]


def test_two_items_make_one_sentence() -> None:
    found = nearest_two(history([1, 0], [5, 5]), VECTORS, np.array([0], np.int32), LISTED)
    titles = np.array(["Tea", "Cup", "Pot", "Saw", "Kettle"])
    assert sentences(titles, found) == ["Because you bought Cup, and then Tea"]

"""The model knows the order of events, of users it learned from and of visitors with three clicks."""

import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from models.datasets.cold_start import InOrder, NewUsers
from models.datasets.dataset import ACTS, Dataset
from models.datasets.training_data import TrainingData
from models.errors import TailorbirdError
from models.evaluation.model_report import subset_users
from models.recommenders.explanations.sentences import parse
from models.recommenders.sequence.histories import (
    CART,
    GAPS,
    KINDS,
    PURCHASE,
    VIEW,
    Histories,
    Ordered,
    acts_of,
    gap_class,
)
from models.recommenders.sequence.model import NONE, SequenceModel, TrainingExtraMissingError, nearest_two, sentences
from models.recommenders.sequence.network_settings import Config
from models.recommenders.sequence.training.windows import IGNORED, Batch, Windows
from tests.models.conftest import CUT, CUTS, DAY, Shop
from tests.models.trainable import MISSING, NEEDS_TORCH

if not MISSING:
    from models.recommenders.sequence.training.validation import Validation

STEPS = 12
QUICK = Config(
    dimensions=16, blocks=1, length=6, epochs=60, dropout=0.0, learning_rate=0.01, validation_users=0, horizon_days=0.0
)
ROWS = [("a", "x", 98, "2"), ("a", "y", 90, "9"), ("a", "z", 98, "1"), ("b", "x", 99, "3")]
Act = tuple[str, str, str, float]
"""User, item, type and day of an event."""
NOTHING = pa.table({})


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


@pytest.mark.parametrize(
    ("items", "gaps", "kinds", "nearest"),
    [
        ([0, 2, 1], [5, 5, 5], PURCHASE, (0, 1)),
        ([1, 0, 2], [5, 5, 5], PURCHASE, (1, 0)),
        ([0, 1], [0, 5], PURCHASE, (NONE, 0)),  # items of one moment have no order
        ([1, 0], [0, 5], VIEW, (1, 0)),  # unless they are clicks
        ([4, 0, 3], [5, 5, 5], PURCHASE, (NONE, 0)),  # neither the listed item nor an opposite one
        ([4, 3], [5, 5], PURCHASE, (NONE, NONE)),
        ([0, 1, 0], [5, 5, 5], PURCHASE, (1, 0)),  # an item counts at its latest event
    ],
)
def test_the_nearest_two_come_in_the_order_of_the_user(
    items: list[int], gaps: list[int], kinds: int, nearest: tuple[int, int]
) -> None:
    assert evidence(items, gaps, kinds) == nearest


def test_purchases_count_before_other_acts() -> None:
    kinds = [PURCHASE, CART, VIEW, PURCHASE]
    assert evidence([2, 0, 0, 1], [5, 5, 5, 5], kinds) == (2, 1)
    found = nearest_two(history([0], [5], VIEW), VECTORS, np.array([0], np.int32), LISTED)
    assert not found.bought.any()


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


def test_events_come_by_user_and_time_and_in_a_moment_by_item(small) -> None:
    data = small(ROWS)
    events = Ordered.of(data)
    assert data.items[events.item].tolist() == ["y", "x", "z", "x"]
    assert events.starts_basket.tolist() == [True, True, False, True]


def test_a_gap_is_the_time_to_the_next_event_and_at_the_end_to_the_cut(small) -> None:
    hours = np.array([8 * 24, 0, 2 * 24, 24])
    assert Ordered.of(small(ROWS)).gap.tolist() == gap_class(hours * 3_600).tolist()
    assert Ordered.of(small(ROWS), time_gaps=False).gap.tolist() == [0, 0, 0, 0]


def test_gaps_are_classes_of_doubling_hours() -> None:
    hours = np.array([-1, 0, 0.9, 1, 3, 24, 10**9])
    assert gap_class((hours * 3_600).astype(np.int64)).tolist() == [0, 0, 0, 1, 2, 4, GAPS - 1]


def test_only_the_latest_events_are_kept(small) -> None:
    data = small(ROWS)
    kept = Histories.of(Ordered.of(data), len(data.users), 2)
    assert data.items[kept.items].tolist() == ["x", "z", "x"]
    assert kept.counts.tolist() == [2, 1]
    assert kept.matrix(3).toarray().tolist() == [[True, False, True], [True, False, False]]


def test_clicks_are_histories_with_usual_gaps() -> None:
    clicks = InOrder(np.array([5, 4, 3, 7], dtype=np.int32), np.array([0, 3, 3, 4]))
    kept = Histories.of_clicks(clicks, 2, usual_gap=6)
    assert kept.items.tolist() == [4, 3, 7]
    assert kept.counts.tolist() == [2, 0, 1]
    assert set(kept.gaps.tolist()) == {6}


def test_rows_are_filled_up_on_the_right(small) -> None:
    data = small(ROWS)
    padded = Histories.of(Ordered.of(data), 2, 50).padded(np.array([1, 0]))
    assert padded.items.tolist() == [[0, 0, 0], [1, 0, 2]]
    assert padded.counts.tolist() == [1, 3]
    assert padded.gaps[0].tolist() == [gap_class(np.array([86_400]))[0], 0, 0]


CONFIG = Config(batch=3)


def batches(data, length: int, seed: int = 1, horizon: int = 0) -> list[Batch]:
    windows = Windows.of(Ordered.of(data), len(data.users), length, horizon)
    return list(windows.batches(CONFIG, np.random.default_rng(seed)))


def targets(some: list[Batch]) -> list[int]:
    return sorted(int(item) for batch in some for item in batch.targets.ravel() if item != IGNORED)


def test_long_histories_are_cut_into_windows_without_a_loss(small) -> None:
    rows = [("a", f"{day:02}", day, str(day)) for day in range(12)]
    data = small([*rows, ("b", "00", 1, "1"), ("b", "11", 2, "2"), ("c", "05", 1, "1")])
    for length in (1, 3, 4, 50):
        made = batches(data, length)
        assert targets(made) == sorted([*range(1, 12), 11])
        assert max(batch.items.shape[1] for batch in made) <= length


def test_inputs_come_right_before_their_targets(small) -> None:
    data = small([("a", f"{day:02}", day, str(day)) for day in range(9)])
    for batch in batches(data, 4):
        inside = batch.targets != IGNORED
        assert (batch.items[inside] + 1 == batch.targets[inside]).all()


def test_the_items_of_a_basket_come_in_random_order_and_baskets_in_theirs(small) -> None:
    rows = [("a", f"{day}{item}", day, str(day)) for day in range(3) for item in range(4)]
    data = small(rows)
    seen = set()
    for seed in range(8):
        (batch,) = batches(data, 50, seed)
        history = [*batch.items[0].tolist(), int(batch.targets[0, -1])]
        assert [at // 4 for at in history] == [0] * 4 + [1] * 4 + [2] * 4
        seen.add(tuple(history))
    assert len(seen) > 4


def test_with_a_horizon_a_target_is_any_purchase_up_to_it_after_the_next_one(small) -> None:
    data = small([(user, f"{day:02}", day, str(day)) for user in "ab" for day in range(9)])
    ahead = set()
    for seed in range(12):
        for batch in batches(data, 4, seed, 2 * DAY):
            inside = batch.targets != IGNORED
            assert (batch.targets[inside] < 9).all()
            ahead |= set((batch.targets - batch.items)[inside].tolist())
    assert ahead == {1, 2, 3}


def with_acts(data: TrainingData, acts: list[Act], manifest: dict[str, object] | None = None) -> TrainingData:
    """Return the data with a data set that stores these events for their cut only."""
    user, item, kind, day = (list(column) for column in zip(*acts, strict=True))
    at = [int(one * DAY) for one in day]
    table = pa.table({"user_key": user, "item_id": item, "event_type": kind, "occurred_at": at})
    manifest = {"rows": {ACTS: len(acts)}} if manifest is None else manifest
    stored = {(ACTS, data.cut): table}
    origin = Dataset(manifest, NOTHING, NOTHING, NOTHING, stored=lambda name, cut: stored.get((name, cut)))
    return replace(data, origin=origin)


@pytest.fixture(scope="module")
def two(small: Callable[..., TrainingData]) -> TrainingData:
    return small([("ann", "tea", 10, "1"), ("ann", "cup", 20, "2"), ("bob", "tea", 30, "1")])


SEEN: list[Act] = [
    ("ann", "cup", "view", 19),
    ("ann", "cup", "add_to_cart", 19.5),
    ("ann", "cup", "purchase", 20),
    ("ann", "cup", "rating", 25),
    ("bob", "cup", "click", 31),
    ("bob", "saw", "view", 32),
    ("eve", "tea", "view", 33),
]


def test_views_and_carts_on_known_items_join_the_purchases_in_order(two: TrainingData) -> None:
    events = Ordered.of(with_acts(two, SEEN))
    assert [KINDS[kind] for kind in events.kind] == ["purchase", "view", "cart", "purchase", "purchase", "view"]
    assert two.items[events.item].tolist() == ["tea", "cup", "cup", "cup", "tea", "cup"]
    assert two.users[events.user].tolist() == ["ann"] * 4 + ["bob"] * 2


def test_a_part_of_the_users_has_the_acts_of_that_part(two: TrainingData) -> None:
    part = subset_users(with_acts(two, SEEN), np.array([0]))
    assert part.users[acts_of(part).user].tolist() == ["ann", "ann"]


def test_without_stored_acts_there_are_purchases_only(two: TrainingData) -> None:
    other_cut = replace(with_acts(two, SEEN), cut=two.cut - 1)
    for data in (two, other_cut):
        events = Ordered.of(data)
        assert events.bought.all()
        assert len(events.user) == 3


def test_each_event_before_the_last_purchase_has_the_next_purchase_as_its_target(two: TrainingData) -> None:
    data = with_acts(two, SEEN)
    windows = Windows.of(Ordered.of(data), len(data.users), 8)
    (batch,) = windows.batches(Config(), np.random.default_rng(1))
    assert batch.kinds.tolist() == [[PURCHASE, VIEW, CART]]
    assert two.items[batch.targets].tolist() == [["cup"] * 3]
    assert IGNORED not in batch.targets


@NEEDS_TORCH
def test_the_way_to_a_purchase_is_not_shown_before_it_is_predicted(small: Callable[..., TrainingData]) -> None:
    rows = [(name, item, day, str(day)) for name in "abcde" for item, day in (("tea", 10), ("cup", 20))]
    acts = [(name, item, "view", day) for name in "abcde" for item, day in (("saw", 15), ("cup", 19.9), ("tea", 21))]
    data = with_acts(small([*rows, ("f", "saw", 5, "1")]), acts)
    config = Config(validation_users=1)
    validation, rest = Validation.split(Ordered.of(data), (6, 3), data.cut, config, np.random.default_rng(1))
    (user,) = validation.users.tolist()
    assert data.items[validation.targets.indices].tolist() == ["cup"]
    own = rest.user == user
    assert data.items[rest.item[own]].tolist() == ["tea", "saw"]
    assert (np.bincount(rest.user) == [2 if at == user else 5 for at in range(5)] + [1]).all()


@NEEDS_TORCH
def test_with_a_horizon_all_purchases_since_the_moment_are_held_out(small) -> None:
    days, users = (20, 50, 80, 90, 95), 100
    data = small([(f"u{user:03}", f"{day}", day, str(day)) for user in range(users) for day in days])
    events, config = Ordered.of(data), Config(horizon_days=28.0, validation_users=1)
    validation, rest = Validation.split(events, (users, 5), data.cut, config, np.random.default_rng(1))
    (user,) = validation.users.tolist()
    assert data.items[validation.targets.indices].tolist() == ["80", "90", "95"]
    assert validation.moments.tolist() == [data.cut - 28 * DAY]
    own = rest.user == user
    assert rest.occurred_at[own].tolist() == [20 * DAY, 50 * DAY]
    assert rest.gap[own][-1] == gap_class(np.array([22 * DAY]))[0]  # up to the moment, not to the hidden purchase
    assert len(rest.user) == len(events.user) - 3


@NEEDS_TORCH
def test_with_few_users_in_the_last_days_last_baskets_are_held_out(small) -> None:
    data = small([(f"u{user}", f"{day}", day, str(day)) for user in range(9) for day in (20, 90, 95)])
    config = Config(horizon_days=28.0, validation_users=1)
    validation, _ = Validation.split(Ordered.of(data), (9, 3), data.cut, config, np.random.default_rng(1))
    assert data.items[validation.targets.indices].tolist() == ["95"]
    assert validation.moments.tolist() == [95 * DAY]


@pytest.fixture(scope="module")
def carted(small: Callable[..., TrainingData]) -> TrainingData:
    """Shoppers who look at one item, put another one into the cart, in any order, and buy the second."""
    random, rows, acts = np.random.default_rng(1), [], []
    for user in range(800):  # with fewer, some processors' rounding lets a training fail
        name, day = f"u{user:03}", 10.0
        seen, taken = (f"i{item}" for item in random.choice(6, 2, replace=False))
        first, second = random.permutation(2) / 100
        acts += [(name, seen, "view", day + first), (name, taken, "add_to_cart", day + second)]
        rows.append((name, taken, day + 0.5, str(day)))
        acts += [(name, "i0", "view", 90), (name, "i1", "add_to_cart", 90.01)]
        if user % 2:
            acts[-2:] = [(name, "i0", "add_to_cart", 90), (name, "i1", "view", 90.01)]
    return with_acts(small(rows), acts)


@NEEDS_TORCH
@pytest.mark.parametrize("network", ["transformer", "gru"])
def test_an_item_in_the_cart_is_bought_next_rather_than_one_that_was_viewed(network: str, carted: TrainingData) -> None:
    model = SequenceModel.fit(carted, replace(QUICK, length=8, network=network, dimensions=32, epochs=90), 1)
    scores = model.scores(np.arange(len(carted.users), dtype=np.int32))
    even = np.arange(len(carted.users)) % 2 == 0
    assert ((scores[:, 1] > scores[:, 0]) == even).mean() > 0.75

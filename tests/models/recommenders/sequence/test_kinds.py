"""A history holds views and carts too, and the validation holds out the last purchases."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from models.datasets.dataset import ACTS, Dataset
from models.datasets.training_data import TrainingData
from models.evaluation.model_report import subset_users
from models.recommenders.explanations.sentences import parse
from models.recommenders.sequence.histories import CART, KINDS, PURCHASE, VIEW, Ordered, acts_of, gap_class
from models.recommenders.sequence.model import SequenceModel
from models.recommenders.sequence.network_settings import Config
from models.recommenders.sequence.training.windows import IGNORED, Windows
from tests.models.conftest import DAY
from tests.models.trainable import MISSING, NEEDS_TORCH

if not MISSING:
    from models.recommenders.sequence.training.validation import Validation

Act = tuple[str, str, str, float]
"""User, item, type and day of an event."""
NOTHING = pa.table({})
QUICK = Config(
    dimensions=16, blocks=1, length=8, epochs=80, dropout=0.0, learning_rate=0.01, validation_users=0, horizon_days=0.0
)


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
    model = SequenceModel.fit(carted, replace(QUICK, network=network, dimensions=32, epochs=90), 1)
    scores = model.scores(np.arange(len(carted.users), dtype=np.int32))
    even = np.arange(len(carted.users)) % 2 == 0
    assert ((scores[:, 1] > scores[:, 0]) == even).mean() > 0.75


@NEEDS_TORCH
def test_a_model_with_kinds_is_repeatable_and_comes_back_from_its_bundle(carted: TrainingData) -> None:
    quick = replace(QUICK, epochs=2)
    one, other = (SequenceModel.fit(carted, quick, 1) for _ in range(2))
    state = one.state()
    assert {name: array.tobytes() for name, array in state.items()} == {
        name: array.tobytes() for name, array in other.state().items()
    }
    users = np.arange(len(carted.users), dtype=np.int32)
    again = SequenceModel.from_state(quick, state)
    np.testing.assert_array_equal(again.scores(users), one.scores(users))


@NEEDS_TORCH
def test_reasons_call_purchases_and_views_by_their_names(carted: TrainingData) -> None:
    model = SequenceModel.fit(carted, replace(QUICK, epochs=30), 1)
    users, items = np.zeros(6, np.int32), np.arange(6, dtype=np.int32)
    kinds = {reason.kind for text in model.reasons(users, items) if (reason := parse(text))}
    assert not kinds & {"viewed_item", "viewed_items"}

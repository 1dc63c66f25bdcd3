"""Every event but a user's first is a target once in an epoch."""

import numpy as np

from models.primitives.time import DAY
from models.recommenders.sequence.histories import Ordered
from models.recommenders.sequence.network_settings import Config
from models.recommenders.sequence.training.windows import IGNORED, Batch, Windows

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


def test_batches_depend_on_the_seed_alone(small) -> None:
    rows = [(f"u{user}", f"{item}", item, str(item)) for user in range(9) for item in range(user % 4 + 2)]
    one, same, other = (batches(small(rows), 2, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for x, y in zip(one, same, strict=True) for a, b in zip(x, y, strict=True))
    assert [batch.targets.tolist() for batch in one] != [batch.targets.tolist() for batch in other]
    assert targets(one) == targets(other)

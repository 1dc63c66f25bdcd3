"""Histories are the latest events in order of time, whatever the order of the data."""

import numpy as np

from models.datasets.cold_start import InOrder
from models.primitives.time import DAY
from models.recommenders.sequence.histories import GAPS, Histories, Ordered, gap_class
from models.recommenders.sequence.network_settings import Config
from models.recommenders.sequence.training.windows import IGNORED, Batch, Windows

ROWS = [("a", "x", 98, "2"), ("a", "y", 90, "9"), ("a", "z", 98, "1"), ("b", "x", 99, "3")]


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


def test_batches_depend_on_the_seed_alone(small) -> None:
    rows = [(f"u{user}", f"{item}", item, str(item)) for user in range(9) for item in range(user % 4 + 2)]
    one, same, other = (batches(small(rows), 2, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for x, y in zip(one, same, strict=True) for a, b in zip(x, y, strict=True))
    assert [batch.targets.tolist() for batch in one] != [batch.targets.tolist() for batch in other]
    assert targets(one) == targets(other)

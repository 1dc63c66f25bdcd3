"""Histories are the latest events in order of time, whatever the order of the data."""

import numpy as np

from models.datasets.cold_start import InOrder
from models.recommenders.sequence.histories import GAPS, Histories, Ordered, gap_class

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

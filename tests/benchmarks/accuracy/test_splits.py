"""Tests the training data and the targets of both protocols."""

import numpy as np

from benchmarks.accuracy.readers import Interactions
from benchmarks.accuracy.splits import Split, given, leave_one_out, sample


def rows(*pairs: str) -> Interactions:
    user, item = zip(*(pair.split() for pair in pairs), strict=True)
    return Interactions(np.array(user), np.array(item))


HISTORIES = rows("a w", "b z", "a x", "a y", "a z", "b w", "c x", "c w", "c y")


def learned(split: Split) -> list[tuple[str, str, int]]:
    """Return user, item and days before the cut of each event."""
    data = split.data
    days = (data.cut - data.occurred_at) // 86_400
    return list(zip(data.users[data.user].tolist(), data.items[data.item].tolist(), days.tolist(), strict=True))


def heldout_pairs(split: Split) -> list[tuple[str, str]]:
    user, item = split.targets.nonzero()
    return list(zip(split.data.users[user].tolist(), split.data.items[item].tolist(), strict=True))


def test_the_last_item_is_the_test_and_one_step_back_is_one_day() -> None:
    split = leave_one_out(HISTORIES, "test")
    assert heldout_pairs(split) == [("a", "z"), ("c", "y")]
    assert learned(split)[:3] == [("a", "w", 3), ("a", "x", 2), ("a", "y", 1)]
    assert learned(split)[5:] == [("c", "x", 2), ("c", "w", 1)]


def test_the_validation_never_sees_the_last_item() -> None:
    split = leave_one_out(HISTORIES, "validation")
    assert heldout_pairs(split) == [("a", "y"), ("c", "w")]
    assert learned(split) == [("a", "w", 2), ("a", "x", 1), ("b", "z", 2), ("b", "w", 1), ("c", "x", 1)]


def test_given_pairs_stay_as_given_and_have_no_order() -> None:
    split = given(rows("a x", "a y", "b x"), rows("a z", "b y"), "test")
    assert learned(split) == [("a", "x", 1), ("a", "y", 1), ("b", "x", 1)]
    assert heldout_pairs(split) == [("a", "z"), ("b", "y")]


def test_the_validation_of_pairs_is_a_tenth_of_train_and_none_of_test() -> None:
    train = rows(*(f"u{user} i{item:02}" for user in range(5) for item in range(20)), "single i00")
    split = given(train, rows("u0 i99"), "validation")
    assert np.diff(split.targets.indptr).tolist() == [0, 2, 2, 2, 2, 2]
    assert {*heldout_pairs(split)} | {event[:2] for event in learned(split)} == {
        *zip(*(c.tolist() for c in train), strict=True)
    }
    assert len(learned(split)) == 91


def test_a_sample_keeps_whole_users() -> None:
    train = rows(*(f"u{user:02} i{item:02}" for user in range(30) for item in range(20)))
    targets = given(train, rows("u00 i99"), "validation").targets
    drawn = np.diff(sample(targets, 7).indptr)
    assert sorted(drawn.tolist()) == [0] * 23 + [2] * 7
    assert sample(targets, 30) is targets

from typing import Any

import numpy as np
import pytest

from models.lists.ranked_lists import CHECKS, Lists, count_violations

ALLOWED = np.array([True, True, True, True, False])


def three(**changed: Any) -> Lists:
    """Three sound lists of up to three; the last is shorter and has a reason."""
    entries: dict[str, Any] = {
        "rows": np.arange(3),
        "subjects": np.array(["ann", "bob", "cleo"]),
        "items": np.array([[0, 1, 2], [3, 2, 1], [1, -1, -1]], np.int32),
        "scores": np.array([[3, 2, 1], [3, -2, 1], [0, -np.inf, -np.inf]], np.float32),
        "reasons": np.array([[0, 0, 1], [0, 0, 0], [1, -1, -1]], np.int32),
        "short": np.array(["", "", "nothing more"]),
    }
    return Lists(**(entries | changed))


def with_one(column: str, at: tuple[int, int], value: Any) -> Lists:
    lists = three()
    getattr(lists, column)[at] = value
    return lists


def violations(lists: Lists) -> dict[str, list[int]]:
    return {name: counts.tolist() for name, counts in count_violations(lists, ALLOWED).items() if counts.any()}


def test_sound_lists_break_nothing_and_every_check_is_counted() -> None:
    assert violations(three()) == {}
    counted = count_violations(three(), ALLOWED)
    assert list(counted) == list(CHECKS)
    assert {counts.dtype for counts in counted.values()} == {np.dtype(np.int32)}
    assert three().lengths.tolist() == [3, 3, 1]


@pytest.mark.parametrize(
    ("column", "at", "value", "found"),
    [
        ("items", (1, 2), -1, {"empty_places": [0, 1, 0]}),
        ("items", (0, 1), -1, {"empty_places": [1, 0, 0], "gaps": [1, 0, 0]}),
        ("items", (1, 1), 3, {"repeats": [0, 1, 0]}),
        ("items", (2, 0), 4, {"not_on_sale": [0, 0, 1]}),
        ("items", (2, 0), 9, {"not_on_sale": [0, 0, 1]}),
        ("scores", (0, 0), np.nan, {"unscored": [1, 0, 0]}),
        ("scores", (0, 0), np.inf, {"unscored": [1, 0, 0]}),
        ("reasons", (1, 1), -1, {"unexplained": [0, 1, 0]}),
    ],
)
def test_violations_are_counted_in_their_list(
    column: str, at: tuple[int, int], value: Any, found: dict[str, list[int]]
) -> None:
    assert violations(with_one(column, at, value)) == found


def test_the_same_item_three_times_counts_twice_and_empty_places_are_no_repeats() -> None:
    items = np.array([[2, 2, 2], [0, 1, 2], [-1, -1, -1]], np.int32)
    assert violations(three(items=items))["repeats"] == [2, 0, 0]


def test_no_lists_and_lists_of_one_are_no_error() -> None:
    nobody = Lists(*(column[:0] for column in three()))
    assert {len(counts) for counts in count_violations(nobody, ALLOWED).values()} == {0}
    items, scores, reasons = (getattr(three(), name)[:, :1] for name in ("items", "scores", "reasons"))
    assert violations(three(items=items, scores=scores, reasons=reasons)) == {}

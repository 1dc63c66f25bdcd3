"""A reason names own items that are like the listed one, in the order in which they came."""

import numpy as np
import pytest

from models.recommenders.sequence.histories import CART, PURCHASE, VIEW, Histories
from models.recommenders.sequence.reasons import NONE, nearest_two, sentences

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

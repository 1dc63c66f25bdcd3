import numpy as np
from scipy import sparse

from models.recommenders.explanations.item import NONE, nearest_own, reasons_of, strongest_own

MILK = np.array(["Whole Milk", ""])


def test_a_long_title_is_cut_and_a_line_break_is_no_part_of_it() -> None:
    titles = np.array(["tea \n" * 50, "\u8336" * 200])
    sentences = reasons_of(titles, np.array([0, 1], np.int32), clicked=False)
    assert all(reason.startswith("Because you bought ") and reason.endswith("\u2026") for reason in sentences)
    assert [len(reason) - len("Because you bought ") for reason in sentences] == [80, 80]
    assert "\n" not in sentences[0]


def test_the_strongest_own_item_is_named_and_never_the_pick_itself() -> None:
    evidence = sparse.csr_array(np.array([[0.9, 0.5, 0.5], [0, 0, 0], [0, 3, 0], [0, 0, -1]], dtype=np.float32))
    assert strongest_own(evidence, np.array([0, 1, 1, 0], np.int32)).tolist() == [1, NONE, NONE, NONE]


def test_without_a_title_or_an_own_item_nothing_is_claimed() -> None:
    sentences = reasons_of(MILK, np.array([0, 1, NONE], np.int32), clicked=False)
    assert sentences == ["Because you bought Whole Milk", "You may like this", "You may like this"]


def test_of_a_click_it_is_stated_that_it_was_looked_at() -> None:
    assert reasons_of(MILK, np.array([0], np.int32), clicked=True) == ["Because you looked at Whole Milk"]


def test_the_nearest_own_item_is_of_the_user_alone_and_points_the_same_way() -> None:
    history = sparse.csr_array(np.array([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]], dtype=bool))
    vectors = np.array([[1, 0], [0, 5], [-1, -1], [0.1, 1]], np.float32)
    users, items = np.array([0, 1, 0, 2, -1], np.int32), np.array([3, 3, 1, 3, 3], np.int32)
    assert nearest_own(history, vectors, users, items).tolist() == [1, NONE, NONE, NONE, NONE]

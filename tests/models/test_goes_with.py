from dataclasses import replace

import numpy as np
from scipy import sparse

from models.goes_with import NONE, phrases, phrases_of_clicks, reasons, strongest_own


def test_an_item_is_spoken_of_by_its_title_else_by_its_category(small) -> None:
    data = small([("a", "x", 1, "1"), ("a", "y", 1, "1"), ("a", "z", 1, "1")], {"y": "SHOP|FRUIT"})
    data = replace(data, item_titles=np.array(["Whole Milk", "", ""]))
    assert phrases(data).tolist() == ["Whole Milk you bought", "fruit you buy", ""]


def test_a_long_title_is_cut_between_words(small) -> None:
    data = replace(small([("a", "x", 1, "1")]), item_titles=np.array(["tea " * 50]))
    (phrase,) = phrases(data)
    assert phrase.startswith("tea tea")
    assert phrase.endswith("tea… you bought")
    assert len(reasons(np.array([phrase]), np.array([0], np.int32))[0]) < 120


def test_the_own_item_that_says_most_is_named_and_never_the_pick_itself() -> None:
    evidence = sparse.csr_array(np.array([[0.9, 0.5, 0.5], [0, 0, 0], [0, 3, 0], [0, 0, -1]], dtype=np.float32))
    assert strongest_own(evidence, np.array([0, 1, 1, 0], np.int32)).tolist() == [1, NONE, NONE, NONE]


def test_without_a_name_or_an_own_item_the_reason_is_general() -> None:
    named = np.array(["Whole Milk you bought", ""])
    assert reasons(named, np.array([0, 1, NONE], np.int32)) == [
        "Goes with the Whole Milk you bought",
        "Liked by shoppers like you",
        "Liked by shoppers like you",
    ]


def test_of_a_click_it_is_said_that_it_was_looked_at() -> None:
    bought = np.array(["Songs you know you bought", "fruit you buy", ""])
    assert phrases_of_clicks(bought).tolist() == ["Songs you know you looked at", "fruit you looked at", ""]

import numpy as np
import pytest
from scipy import sparse

from models.recommenders.explanations.evidence import (
    CATEGORIES_PER_USER,
    NONE,
    TopCategories,
    category_names_of,
    distinctive,
    nearest_own,
    reasons_of,
    strongest_own,
)

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


def test_the_nearest_own_item_is_of_the_user_alone_and_points_the_same_way() -> None:
    history = sparse.csr_array(np.array([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]], dtype=bool))
    vectors = np.array([[1, 0], [0, 5], [-1, -1], [0.1, 1]], np.float32)
    users, items = np.array([0, 1, 0, 2, -1], np.int32), np.array([3, 3, 1, 3, 3], np.int32)
    assert nearest_own(history, vectors, users, items).tolist() == [1, NONE, NONE, NONE, NONE]


def test_a_category_is_called_by_its_second_level_in_small_letters() -> None:
    paths = np.array(["GROCERY|FROZEN PIZZA|THIN", "Phones", "", "GROCERY||X", "|", "Tech|TVs and hi-fi"])
    names, position = category_names_of(paths)
    assert names.tolist() == ["Phones", "TVs and hi-fi", "frozen pizza", "grocery"]
    assert position.tolist() == [2, 0, -1, 3, -1, 1]


def test_no_item_with_a_category_gives_no_names() -> None:
    names, position = category_names_of(np.array(["", ""]))
    assert len(names) == 0
    assert position.tolist() == [-1, -1]


def named(result: TopCategories, names: np.ndarray) -> list[list[tuple[str, int]]]:
    rows = zip(result.category.tolist(), result.times.tolist(), strict=True)
    return [[(str(names[c]), n) for c, n in zip(*row, strict=True) if c >= 0] for row in rows]


def test_favourites_are_what_a_user_bought_on_several_days_and_more_of_than_all(small) -> None:
    rows = [("a", "x", 1, "1"), ("a", "x", 2, "2"), ("a", "y", 2.5, "3"), ("a", "y", 3, "4")]
    rows += [("b", "y", day, str(day)) for day in (5, 6, 7)]
    rows += [("c", "x", 8.1, "s"), ("c", "x", 8.2, "t"), ("c", "x", 8.3, "u")]
    data = small([*rows, ("d", "z", 1, "z"), ("d", "w", 1, "z")], {"x": "TEA", "y": "CAKE"})
    names, position = category_names_of(data.item_categories)
    result = TopCategories.bought(data, position)
    assert result.category.shape == (4, CATEGORIES_PER_USER)
    # Of a half of the rows are cake, of all 5 of 12; and c bought tea on one day alone.
    assert named(result, names) == [[("cake", 2), ("tea", 2)], [("cake", 3)], [], []]


@pytest.mark.parametrize("paths", [["Everything"] * 4, [""] * 4, ["A", "A", "A", "B"]])
def test_a_category_of_most_items_is_nobodys_favourite(small, paths: list[str]) -> None:
    rows = [("a", item, day, str(day)) for day in (1, 2, 3) for item in "xyz"] + [("b", "w", 1, "s")]
    data = small(rows, {item: path for item, path in zip("xyzw", paths, strict=True) if path})
    names, position = category_names_of(data.item_categories)
    assert named(TopCategories.bought(data, position), names) == [[], []]


def test_of_clicks_the_different_items_count() -> None:
    category = np.array([0, 0, 1, 1, -1], np.int32)
    user, item = np.array([0, 0, 0, 1, 1], np.int32), np.array([0, 1, 2, 2, 2], np.int32)
    result = TopCategories.viewed(user, item, category, 2)
    assert named(result, np.array(["tea", "cake"])) == [[("tea", 2), ("cake", 1)], [("cake", 1)]]
    assert distinctive(category).tolist() == [True, True]

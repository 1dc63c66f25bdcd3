import re
from pathlib import Path

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
from models.recommenders.explanations.sentences import (
    KINDS,
    ReasonsNaming,
    because,
    because_of_both,
    bought,
    bought_from,
    buyers_of,
    category_pair,
    near_order,
    parse,
    popular,
    shares,
    together,
    viewed_in,
)

MILK = np.array(["Whole Milk", ""])
PAGE = (Path(__file__).parents[4] / "docs" / "recommendations.md").read_text()
ROWS = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", PAGE.partition("## Reasons")[2].partition("\n## ")[0], re.MULTILINE)


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
    no_names, position = category_names_of(np.array(["", ""]))
    assert (len(no_names), position.tolist()) == (0, [-1, -1])


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


def test_the_page_lists_every_kind_and_each_example_reads_as_its_kind() -> None:
    assert {kind for kind, _ in ROWS} == set(KINDS)
    assert [(kind, text) for kind, text in ROWS if (result := parse(text)) is None or result.kind != kind] == []


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        (bought(6, 10, 70, 80), ("6", "12", "12 March")),
        (bought(3, 10, 12, 13), ("3", None, "13 January")),
        (bought(2, 10, 70, 800), ("2", "12 March 1970")),
        (bought_from("tea on 3 days", 9), ("tea on 3 days", "9")),
        (because_of_both("Tea", "Cup"), ("Tea", "Cup")),
        (because_of_both("Tea", "Tea", True), ("Tea",)),
        (because_of_both("Tea", " "), ("Tea",)),
        (because_of_both("T" * 99, "Cup"), ("T" * 39 + "…", "Cup")),
        (because("Tea, and then Cup"), ()),
        (viewed_in("tea", 1), ("1", "tea")),
        (together(1.04), ("slightly",)),
        (together(1.05), ("1.1 times",)),
        (together(1.949), ("1.9 times",)),
        (together(1.95), ("2 times",)),
        (near_order(12.4), ("12 times",)),
        (category_pair("tea", 3.2, "bread"), ("tea", "3 times", "bread")),
        (buyers_of("Tea", 1.04), ("slightly", "Tea")),
        (buyers_of(" ", 9.0), ()),
        (popular(5), ("5",)),
        (popular(4), ()),
    ],
)
def test_a_sentence_is_read_back(text: str, parameters: tuple[str | None, ...]) -> None:
    result = parse(text)
    assert result is not None
    assert result.parameters == parameters


def test_kinds_are_shared_out_by_their_places() -> None:
    assert shares([popular(7), popular(8), "as it is"], [1, 2, 1]) == {"popular": 0.75, "other": 0.25}
    assert shares([], []) == {}


def test_sentences_that_name_an_item_are_found_also_beside_another_one_and_cut_short() -> None:
    long = "An item whose title is longer than a reason with two titles shows"
    naming = ReasonsNaming([long, "Tea", ""])
    for text in (
        because("Tea"),
        because(long, True),
        because_of_both("Cup", "Tea"),
        because_of_both(long, "Cup", True),
    ):
        assert text in naming
    for text in (because("Cup"), because_of_both("Cup", "Pot"), because(" "), "You may like this"):
        assert text not in naming
    assert naming
    assert not ReasonsNaming([])

import re
from pathlib import Path

import pytest

from models.recommenders.explanations.sentences import (
    KINDS,
    ReasonsNaming,
    because,
    because_of_both,
    bought,
    bought_from,
    parse,
    popular,
    shares,
    together,
    viewed_in,
)

PAGE = (Path(__file__).parents[4] / "docs" / "recommendations.md").read_text()
ROWS = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", PAGE.partition("## Reasons")[2].partition("\n## ")[0], re.MULTILINE)


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
        (together(14, 20), ("14", "20")),
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

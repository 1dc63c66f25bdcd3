import re
from pathlib import Path

import pytest

from models.recommenders.explanations.sentences import (
    KINDS,
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

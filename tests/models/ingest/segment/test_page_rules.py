import json
from typing import Any

import pyarrow as pa
import pytest

from models.ingest.canonical_schema import ParsedLines
from models.ingest.segment.parse import PageRule, parse_lines

RULE = PageRule(r"/(film|série)/(?P<item_id>[^/?#']+)")


def visit(properties: Any, rule: PageRule | None = RULE, **envelope: Any) -> ParsedLines:
    line = json.dumps({"type": "page", "messageId": "m", "properties": properties, **envelope})
    return parse_lines(pa.table({"row_number": [1], "text": [line]}), rule)


@pytest.mark.parametrize(
    ("properties", "item"),
    [
        ({"path": "/film/metropolis"}, "metropolis"),
        ({"path": "/", "url": "https://films.example/film/m?x=1"}, "m"),
        ({"url": "https://films.example/série/7/2"}, "7"),
    ],
)
def test_a_visited_page_is_a_view_of_the_item_in_its_path_or_address(properties: dict[str, str], item: str) -> None:
    row = visit(properties).events.to_pylist()[0]
    assert (row["event_id"], row["event_type"], row["item_id"]) == ("m", "view", item)


@pytest.mark.parametrize("properties", [{"path": "/about"}, {"path": 5}, {}, None, [], "film/x"])
def test_a_page_about_no_item_is_routed(properties: Any) -> None:
    assert visit(properties).routed.to_pylist() == [{"row_number": 1, "kind": "page"}]


def test_a_screen_is_known_by_its_name() -> None:
    assert visit({}, type="screen", name="/film/m").events["item_id"].to_pylist() == ["m"]
    assert visit({}, type="screen", name="Home").routed["kind"].to_pylist() == ["screen"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("/film/(.+)", "has no group"),
        ("/film/(?P<item_id>", "is no regular expression"),
        ("/film/(?=x)(?P<item_id>.+)", "is no regular expression"),
    ],
)
def test_a_rule_that_cannot_work_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PageRule(pattern)

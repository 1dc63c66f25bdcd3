import json
from typing import Any

import pyarrow as pa
import pytest

from models.ingest.canonical_schema import ParsedLines
from models.ingest.segment.parse import PageRule, PageRuleError, parse_lines

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


def test_without_a_rule_all_pages_are_routed() -> None:
    assert visit({"path": "/film/metropolis"}, rule=None).routed["kind"].to_pylist() == ["page"]


def test_a_screen_is_known_by_its_name() -> None:
    assert visit({}, type="screen", name="/film/m").events["item_id"].to_pylist() == ["m"]
    assert visit({}, type="screen", name="Home").routed["kind"].to_pylist() == ["screen"]


def test_a_rule_may_define_the_type_of_a_visit() -> None:
    rule = PageRule("/read/(?P<item_id>.+)", event_type="consume")
    assert visit({"path": "/read/it's"}, rule).events.select(["event_type", "item_id"]).to_pylist() == [
        {"event_type": "consume", "item_id": "it's"}
    ]


@pytest.mark.parametrize(
    ("pattern", "event_type", "message"),
    [
        ("/film/(.+)", "view", "has no group"),
        ("/film/(?P<item_id>", "view", "is no regular expression"),
        ("/film/(?=x)(?P<item_id>.+)", "view", "is no regular expression"),
        ("/film/(?P<item_id>.+)", "seen", "There is no event type 'seen'"),
    ],
)
def test_a_rule_that_cannot_work_is_refused(pattern: str, event_type: str, message: str) -> None:
    with pytest.raises(PageRuleError, match=message):
        PageRule(pattern, event_type)

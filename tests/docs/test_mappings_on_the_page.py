"""Tests that all mappings and expressions in docs/ingestion.md can be read and give the results that it shows."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from models.ingest.segment.segment_mapping import SegmentMapping
from models.ingest.tabular import transform
from models.ingest.tabular.mapping_keys import parse
from models.ingest.tabular.table_mapping import Mapping
from models.ingest.tabular.values import value_of

PAGE = (Path(__file__).parents[2] / "docs" / "ingestion.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
LANGUAGE = PAGE.partition("### Expressions")[2].partition("###")[0]
EXAMPLES = re.findall(r"^\| [^\n]+ \| `([^`\n]+)` \| ([^|`\n]+) \|$", LANGUAGE, re.MULTILINE)
ROW: dict[str, Any] = {
    "InvoiceNo": "C536379",
    "StockCode": "85123A",
    "Description": " White holder ",
    "Quantity": -6,
    "InvoiceDate": "2010-12-01 09:41:00",
    "UnitPrice": 2.55,
    "CustomerID": 17850.0,
    "Country": "United Kingdom",
    "Currency": "GBP",
}


def read(block: str) -> Any:
    content = tomllib.loads(block)
    parser = SegmentMapping.parse if content.get("kind") == "segment" else Mapping.parse
    return parser(content, "page")


@pytest.mark.parametrize("block", BLOCKS, ids=[block.partition("\n")[0] for block in BLOCKS])
def test_every_mapping_of_the_page_can_be_read(block: str) -> None:
    mapping = read(block)
    if isinstance(mapping, Mapping):
        for part in filter(None, (mapping.events, mapping.items, mapping.users)):
            assert set(part.read) <= set(ROW), "the page uses one table"


def test_the_page_has_the_mappings_and_the_examples() -> None:
    assert (len(BLOCKS), len(EXAMPLES)) == (4, 15)


def kind_of(result: str) -> Any:
    if result in ("true", "false"):
        return "condition"
    return "number" if re.fullmatch(r"[0-9]+[.][0-9]+", result) else "text"


@pytest.mark.parametrize(("text", "result"), EXAMPLES)
def test_every_expression_of_the_page_gives_what_stands_beside_it(text: str, result: str) -> None:
    kind = kind_of(result)
    rows = pa.table({name: [value] for name, value in ROW.items()})
    [value] = value_of(rows, parse(text.replace("\\|", "|"), kind)).to_pylist()
    expected: Any = {"condition": result == "true", "number": result, "text": result}[kind]
    assert value == (pytest.approx(float(result)) if kind == "number" else expected)


def test_the_tables_of_the_page_give_a_refund_with_its_line_total_a_user_and_an_item() -> None:
    rows = pa.table({name: [value] for name, value in ROW.items()})
    [orders] = [read(block) for block in BLOCKS if "attributes" in block]
    [event] = transform.events(rows, orders.events).rows.to_pylist()
    assert (event["event_type"], event["user_id"], event["quantity"]) == ("refund", "17850", 6.0)
    assert event["value"] == pytest.approx(15.3)
    [user] = transform.users(rows, orders.users).rows.to_pylist()
    assert (user["user_id"], user["attributes"]) == ("17850", {"Country": "United Kingdom", "abroad": "no"})
    [goods] = [read(block) for block in BLOCKS if "choose" in block]
    [item] = transform.items(rows, goods.items).rows.to_pylist()
    assert (item["title"], item["price"], item["available"]) == ("White holder", 2.55, True)
    assert goods.limits.highest_quantity == 100_000

import re
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from expectations.limits import bounds
from models.ingest import mixpanel
from models.ingest.segment import segment_mapping as segment_mapping
from models.ingest.source_config import SourceMapping
from models.ingest.tabular import table_mapping, transform
from models.ingest.tabular.duplicate_rows import chosen
from models.primitives.json_types import JsonObject

PARSERS: dict[str | None, Callable[[JsonObject, str], SourceMapping]] = {
    None: table_mapping.parse,
    "segment": segment_mapping.parse,
    "mixpanel": mixpanel.parse,
}
SHIPPED = sorted((Path(__file__).parents[4] / "tasks" / "sources" / "mappings").glob("*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_mapping_declares_consent_only_where_its_data_allow_it(path: Path) -> None:
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    mapping = PARSERS[content.get("kind")](content, path.stem)
    assert mapping.consent == ("given" if path.stem == "complete_journey" else "opt-in")
    assert mapping.accepts_unknown_items == (path.stem in ("segment", "mixpanel"))


def test_commented_settings_of_the_segment_mapping_can_be_switched_on() -> None:
    text = next(path for path in SHIPPED if path.stem == "segment").read_text(encoding="utf-8")
    shown = re.sub(r'^# (?=\[|"|\w+ = )', "", text, flags=re.MULTILINE)
    mapping = segment_mapping.parse(tomllib.loads(shown), "mine")
    assert mapping.events == {"Article Read": "consume"}
    assert (mapping.start, mapping.end) == (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 6, 30, 22, tzinfo=UTC))
    assert mapping.placeholder_ids == ["walk-in"]
    assert mapping.traffic.internal_users == ["qa-1", "qa-2"]
    assert (mapping.spelling.currency, mapping.spelling.brand) == ({"Taler": "EUR"}, {"ADIDAS AG": "Adidas"})
    assert bounds("events", mapping.limits)["quarantined_share"] == (None, 0.05)
    assert mapping.page_rule() is not None


def test_the_wholesale_mapping_reads_events_items_and_users_from_one_table() -> None:
    names = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
    lines = [
        ("536365", "85123a", "HANGING HEART", 6, "2010-12-01 08:26:00", 2.55, 17850.0, "United Kingdom"),
        ("C536379", "85123A", "WHITE HANGING HEART", -6, "2010-12-02 09:41:00", 2.95, 17850.0, "United Kingdom"),
        ("536370", "POST", "POSTAGE", 3, "2010-07-01 08:45:00", 18.0, 12583.0, "France"),
        ("536381", "85123A", "WHITE HANGING HEART", 1, "2010-11-01 09:00:00", 2.75, None, "France"),
        ("536382", "85123A", "damaged", -80, "2010-12-03 09:00:00", 0.0, None, "France"),
        ("536383", "85123A", "WHITE HANGING HEART", 1, "2010-12-04 09:00:00", 5.51, None, "France"),
        ("536384", "85123A", "WHITE HANGING HEART", 1, "2010-12-04 09:00:00", 5.51, None, "France"),
    ]
    rows = pa.table(dict(zip(names, map(list, zip(*lines, strict=True)), strict=True)))
    content = tomllib.loads(next(path for path in SHIPPED if path.stem == "wholesale").read_text(encoding="utf-8"))
    mapping = table_mapping.parse(content, "wholesale")
    assert mapping.events
    assert mapping.items
    assert mapping.users
    assert mapping.limits.highest_quantity == 100_000
    events = transform.events(rows.filter(transform.selected(rows, mapping.events)), mapping.events).rows.to_pylist()
    assert [(row["item_id"], row["user_id"], row["event_type"], row["quantity"]) for row in events] == [
        ("85123A", "17850", "purchase", 6.0),
        ("85123A", "17850", "refund", 6.0),
        ("POST", "12583", "purchase", 3.0),
    ]
    assert [row["value"] for row in events] == pytest.approx([15.3, 17.7, 54.0])
    assert events[2]["occurred_at"] == datetime(2010, 7, 1, 7, 45, tzinfo=UTC), "London has summer time"
    items = transform.items(rows.filter(transform.selected(rows, mapping.items)), mapping.items).rows
    result = chosen(items, "item_id", mapping.items.choices).to_pylist()
    assert [(row["item_id"], row["title"], row["price"], row["available"]) for row in result] == [
        ("POST", "Postage", 18.0, False),
        ("85123A", "White hanging heart", 2.95, True),
    ]
    users = transform.users(rows.filter(transform.selected(rows, mapping.users)), mapping.users).rows.to_pylist()
    assert [row["user_id"] for row in users] == ["17850", "17850", "12583"]

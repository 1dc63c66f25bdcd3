import json

import pyarrow as pa
import pytest

from models.ingest.segment.event_types import MEANINGS, Meaning, event_name, extended
from models.ingest.segment.parse import parse_lines


@pytest.mark.parametrize(
    "event", ["Order Completed", "order completed", "order_completed", "orderCompleted", "ORDER-COMPLETED "]
)
def test_an_event_is_known_however_it_is_written(event: str) -> None:
    line = json.dumps({"type": "Track", "event": event, "properties": {"products": [{"sku": "a"}]}})
    events = parse_lines(pa.table({"row_number": [1], "text": [line]})).events
    assert events["event_type"].to_pylist() == ["purchase"]


def test_an_event_of_the_shops_own_is_routed_until_the_table_is_extended() -> None:
    line = json.dumps({"type": "track", "event": "Recipe Cooked", "properties": {"product_id": "soup"}})
    lines = pa.table({"row_number": [1], "text": [line]})
    assert parse_lines(lines).routed["kind"].to_pylist() == ["unknown_event"]
    events = parse_lines(lines, meanings=extended({"Recipe Cooked": "consume"})).events
    assert (events["event_type"].to_pylist(), events["item_id"].to_pylist()) == (["consume"], ["soup"])


def test_an_own_meaning_takes_the_place_of_the_shipped_one() -> None:
    table = extended({"Product Shared": Meaning("share", products=False)})
    assert table[event_name("product_shared")].event_type is None
    assert MEANINGS[event_name("product_shared")].event_type == "like"


def test_a_meaning_that_nothing_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no event type 'bought'"):
        extended({"Thing Bought": "bought"})
    with pytest.raises(ValueError, match="they have to be read"):
        Meaning("view", "view", products=False)

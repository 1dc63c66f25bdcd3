import json
import re
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from expectations.batches import bounds
from models.ingest.mixpanel import MixpanelMapping
from models.ingest.segment.segment_mapping import SegmentMapping
from models.ingest.source_config import SourceMapping
from models.ingest.tabular.table_mapping import Mapping, MappingError
from models.primitives.json_types import JsonObject

CONTENT: JsonObject = {
    "location": "somewhere",
    "consent": "given",
    "consent_note": "asked at the till",
    "events": {
        "file": "e",
        "event_id": "id",
        "user_id": "who",
        "item_id": "what",
        "session_id": "basket",
        "occurred_at": "at",
        "constants": {"event_type": "purchase"},
    },
    "items": {"file": "i", "item_id": "id", "title": "name", "category": ["c"]},
    "users": {"file": "u", "user_id": "id", "attributes": []},
}
PARSERS: dict[str | None, Callable[[JsonObject, str], SourceMapping]] = {
    None: Mapping.parse,
    "segment": SegmentMapping.parse,
    "mixpanel": MixpanelMapping.parse,
}
SHIPPED = sorted((Path(__file__).parents[4] / "tasks" / "sources" / "mappings").glob("*.toml"))


def events(**change: Any) -> JsonObject:
    return {"events": CONTENT["events"] | change}


def items(**change: Any) -> JsonObject:
    return {"items": CONTENT["items"] | change}


def users(**change: Any) -> JsonObject:
    return {"users": CONTENT["users"] | change}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"consent": "absent"}, "consent: Input should be 'given', 'opt-in' or 'opt-out'"),
        ({"evnets": {}}, "evnets: there is no such key; the nearest is 'events'"),
        (dict.fromkeys(("events", "items", "users")), "it reads nothing; add a table"),
        ({"users": {"file": "u", "user_id": "id"}}, "users.attributes: it is missing; add it"),
        (events(zone="Berlin"), "events.zone: there is no time zone 'Berlin'; use .*Europe/Berlin"),
        (events(time_format="%Q"), "events.time_format: the time format '%Q' cannot be used"),
        (events(constants={}), "event_type is missing; name its column"),
        (events(event_id=None, event_id_prefix="shop-"), "event_id_prefix needs an event_id to stand before"),
        (events(constants={"event_type": "buy"}), "there is no event type 'buy'; use one of impression, view"),
        (events(optional=["what"]), "'what' is needed in every row"),
        (items(fill={"price": 1}), "fill names 'price', which it cannot fill here; it can fill: category"),
        (
            events(fill={"value": 1}),
            "fill names 'value', which it cannot fill here; it can fill: keys, once their columns",
        ),
        (events(quantity="q", fill={"quantity": "one"}), "fill.quantity has to be a number; write it without quotes"),
        (users(consent_at="when"), "consent_at is the time of the answer; name the column of the answer"),
        (events(quantity={"expr": "abs(q"}), "events.quantity: the expression cannot be read"),
        (events(where="q"), "events.where: a column stands where a condition is needed; write a comparison"),
        (items(not_merchandise={"expr": "a = 1"}), "items.not_merchandise: write an expression in quotes, or a list"),
        (items(choose={"titel": "last"}), "items: choose names 'titel', which is not one of: title, category"),
        (items(choose="latest"), "items: choose = latest needs a time; name its column as updated_at"),
        (events(thousands=",", decimal=","), "thousands and decimal are both ','"),
        (events(required=["quantity"]), "required names 'quantity', which no column is read for"),
        (events(quantity="q", required=["quantity"], fill={"quantity": 1}), "filled and required"),
        (items(category=["a", "b"], category_separator=">"), "splits one column"),
        (items(attributes=[{"expr": "a"}]), r"items.attributes.0: write an expression as { name = .*, expr ="),
    ],
)
def test_missing_and_misspelt_keys_are_named(change: JsonObject, message: str) -> None:
    with pytest.raises(MappingError, match=rf"mapping 'mine' cannot be used: .*{message}"):
        Mapping.parse(CONTENT | change, "mine")


def test_an_expression_reads_columns_that_may_be_optional_and_is_part_of_what_the_mapping_means() -> None:
    change = {"item_id": {"expr": "coalesce(sku, code)"}, "optional": ["code"], "where": "qty <> 0"}
    part = Mapping.parse(CONTENT | events(**change), "mine").events
    assert part
    assert part.read == ["id", "who", "sku", "code", "basket", "at", "qty"]
    assert json.loads(part.model_dump_json())["item_id"] == change["item_id"]
    assert json.loads(part.model_dump_json())["where"] == "qty <> 0"


def test_all_mistakes_are_reported_together() -> None:
    with pytest.raises(MappingError, match=r"events.zone: .*; items.colour: "):
        Mapping.parse(CONTENT | events(zone="x") | items(colour="red"), "mine")


def test_a_mapping_of_events_alone_accepts_unknown_items() -> None:
    events_only = Mapping.parse({"events": CONTENT["events"]}, "mine")
    assert events_only.items is events_only.users is events_only.location is None
    assert events_only.accepts_unknown_items
    assert not Mapping.parse({"events": CONTENT["events"], "unknown_items": "quarantine"}, "mine").accepts_unknown_items
    assert not Mapping.parse(CONTENT, "mine").accepts_unknown_items
    assert Mapping.parse(CONTENT | {"unknown_items": "accept"}, "mine").accepts_unknown_items


def test_a_single_category_needs_no_list() -> None:
    result = Mapping.parse({"items": {"file": "f", "item_id": "i", "title": "n", "category": "path"}}, "shop")
    assert result.items is not None
    assert result.items.category == ["path"]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_mapping_declares_consent_only_where_its_data_allow_it(path: Path) -> None:
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    mapping = PARSERS[content.get("kind")](content, path.stem)
    assert mapping.consent == ("given" if path.stem == "complete_journey" else "opt-in")
    assert mapping.accepts_unknown_items == (path.stem in ("segment", "mixpanel"))


def test_commented_settings_of_the_segment_mapping_can_be_switched_on() -> None:
    text = next(path for path in SHIPPED if path.stem == "segment").read_text(encoding="utf-8")
    shown = re.sub(r'^# (?=\[|"|\w+ = )', "", text, flags=re.MULTILINE)
    mapping = SegmentMapping.parse(tomllib.loads(shown), "mine")
    assert mapping.events == {"Article Read": "consume"}
    assert (mapping.start, mapping.end) == (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 6, 30, 22, tzinfo=UTC))
    assert mapping.placeholder_ids == ["walk-in"]
    assert mapping.traffic.internal_users == ["qa-1", "qa-2"]
    assert (mapping.spelling.currency, mapping.spelling.brand) == ({"Taler": "EUR"}, {"ADIDAS AG": "Adidas"})
    assert bounds("events", mapping.limits)["quarantined_share"] == (None, 0.05)
    assert mapping.page_rule() is not None

"""Single calls are read as files are, and their times by the server's clock."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from models.ingest.segment.event_types import MEANINGS
from models.ingest.segment.parse import parse_lines
from models.ingest.segment.segment_mapping import SegmentMapping
from models.ingest.segment.single_calls import CallReader, occurred_at
from models.primitives.json_types import JsonObject

GOLDEN = Path(__file__).parents[3] / "golden" / "segment" / "segment.jsonl"
MAPPING = SegmentMapping.model_validate(
    {
        "name": "web",
        "kind": "segment",
        "page_pattern": "^/film/(?P<item_id>[^/?#]+)",
        "traits": ["age", "favourite_categories", "plan", "email"],
    }
)
READER = CallReader.of(MAPPING)


def parsed(*calls: Any) -> JsonObject:
    lines = pa.table({"row_number": list(range(len(calls))), "text": [json.dumps(call) for call in calls]})
    found = parse_lines(lines, MAPPING.page_rule(), traits=MAPPING.traits)
    rows = {name: getattr(found, name).to_pylist() for name in ("events", "items", "users", "routed", "unreadable")}
    for row in rows["unreadable"]:
        del row["sha256"]
    for row in rows["events"]:
        del row["user_agent"], row["ip"]
    return rows


def rebuilt(call: JsonObject) -> JsonObject:
    """The call as the lake's parser gets it."""
    read = READER.read(call)
    device = "previousId" if read.kind == "alias" else "anonymousId"
    ids = {"messageId": read.message_id, "userId": read.user_id, device: read.device_id}
    return {**read.payload, **ids, "receivedAt": call.get("receivedAt")}


def calls() -> list[JsonObject]:
    found = []
    for line in GOLDEN.read_bytes().split(b"\n"):
        try:
            call = json.loads(line)
        except ValueError:
            continue
        if isinstance(call, dict) and call.get("messageId"):
            found.append(call)
    return found


def test_a_reduced_call_gives_the_rows_of_the_whole_call() -> None:
    assert len(calls()) > 10
    assert parsed(*map(rebuilt, calls())) == parsed(*calls())


def named(name: str, properties: JsonObject) -> JsonObject:
    return {"type": "track", "event": name, "messageId": "m", "userId": "u", "properties": properties}


PRODUCTS: list[JsonObject] = [{"product_id": "a"}, {"sku": 7}, {"id": "c", "sku": "s"}, {"product_id": ""}, {}]
SHAPES: list[Any] = [
    {"product_id": "p", "products": PRODUCTS},
    {"products": PRODUCTS},
    {"id": "i", "sku": "s"},
    {"products": "none"},
    {},
    "none",
]


@pytest.fixture(scope="module")
def events_of_names() -> dict[tuple[str, int], list[JsonObject]]:
    """The events that the parser of files finds, by the name of the call and the shape of its properties."""
    sent = [(name, shape) for name in sorted(MEANINGS) for shape in range(len(SHAPES))]
    found: dict[tuple[str, int], list[JsonObject]] = {one: [] for one in sent}
    for row in parsed(*(named(name, SHAPES[shape]) for name, shape in sent))["events"]:
        found[sent[row["row_number"]]].append(row)
    assert any(found.values())
    return found


@pytest.mark.parametrize("name", sorted(MEANINGS))
def test_the_interaction_is_the_one_that_the_lake_gets(
    name: str, events_of_names: dict[tuple[str, int], list[JsonObject]]
) -> None:
    for shape, properties in enumerate(SHAPES):
        events = events_of_names[name, shape]
        interaction = READER.read(named(name, properties)).interaction
        assert list(interaction.items) == [row["item_id"] for row in events if row["item_id"] not in (None, "*")]
        assert {row["event_type"] for row in events} <= {interaction.event_type}


def test_pages_are_read_by_the_rule() -> None:
    visits = ({"path": "/film/m"}, {"url": "https://x.example/film/m"}, {"path": "/about"}, {"path": 5})
    for properties in visits:
        call = {"type": "Page", "messageId": "m", "userId": "u", "properties": properties}
        found = [(row["event_type"], row["item_id"]) for row in parsed(call)["events"]]
        interaction = READER.read(call).interaction
        assert [(interaction.event_type, item) for item in interaction.items] == found


def test_no_id_address_or_unlisted_trait_stays_in_the_payload() -> None:
    call = {
        "type": "identify",
        "userId": "secret-1",
        "anonymousId": "secret-2",
        "traits": {"email": "secret@x.example", "age": 30, "plan": "secret@x.example", "religion": "secret"},
        "context": {"ip": "10.0.0.1-secret", "userAgent": "secret", "traits": {"phone": "secret"}},
        "properties": {"email": "secret"},
        "integrations": {"secret": True},
    }
    read = READER.read(call)
    assert "secret" not in json.dumps(read.payload)
    assert (read.user_id, read.device_id, read.user_agent) == ("secret-1", "secret-2", "secret")
    assert read.payload["traits"] == {"age": 30}


@pytest.mark.parametrize(
    ("answers", "consent"),
    [
        ({"Personalization": True, "Advertising": "true"}, True),
        ({"Personalization": True, "Advertising": False}, False),
        ("yes", None),
    ],
)
def test_consent_is_given_if_no_category_that_counts_is_refused(answers: Any, consent: bool | None) -> None:
    read = READER.read({"type": "track", "context": {"consent": {"categoryPreferences": answers}}})
    assert read.consent is consent


@pytest.mark.parametrize("value", [None, 5, "x", [], {}, [{}], {"products": {}}])
def test_whatever_stands_in_a_call_nothing_fails(value: Any) -> None:
    names = ("type", "event", "messageId", "userId", "anonymousId", "properties", "context", "traits", "timestamp")
    for name in names:
        read = READER.read({"type": "track", "event": "Product Viewed", name: value})
        assert isinstance(read.payload, dict)


RECEIVED = datetime(2026, 11, 29, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("timestamp", "sent", "expected"),
    [
        ("2026-11-29T09:00:00Z", "2026-11-29T10:00:00.000Z", datetime(2026, 11, 29, 11, tzinfo=UTC)),  # two hours slow
        ("2019-01-01T00:00:00Z", "2026-11-29T12:00:01Z", datetime(2019, 1, 1, tzinfo=UTC)),  # an import of old events
        ("2026-11-29T11:00:00Z", None, datetime(2026, 11, 29, 11, tzinfo=UTC)),
        (None, "2026-11-29T10:00:00Z", RECEIVED),
        ("yesterday", None, "yesterday"),
        ("2026-11-29T13:00:00", "2026-11-29T13:59:58.123456", datetime(2026, 11, 29, 11, tzinfo=UTC)),  # local times
        ("2026-11-29T08:00:00", "2026-11-29T08:50:00", datetime(2026, 11, 29, 11, 10, tzinfo=UTC)),  # and slow
        ("2026-11-29T11:00:00Z", "2026-11-29T14:00:00", datetime(2026, 11, 29, 11, tzinfo=UTC)),  # of two clocks
        (
            "2026-11-29T11:59:59.123456789Z",
            "2026-11-29T12:00:00.1234567Z",
            datetime(2026, 11, 29, 11, 59, 59, 123456, UTC),
        ),
        ("9999-12-31T23:59:59Z", "2026-11-29T10:00:00Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_the_error_of_the_senders_clock_is_taken_out(timestamp: Any, sent: Any, expected: Any) -> None:
    assert occurred_at({"timestamp": timestamp, "sentAt": sent}, RECEIVED) == expected


@pytest.mark.parametrize("zone", ["", "Z"])
def test_a_call_that_is_sent_again_by_a_right_clock_keeps_its_time(zone: str) -> None:
    call = {"timestamp": f"2026-11-29T11:00:00{zone}", "sentAt": f"2026-11-29T11:59:57{zone}"}
    again = call | {"sentAt": f"2026-11-29T11:59:59.500{zone}"}
    assert occurred_at(call, RECEIVED) == occurred_at(again, RECEIVED)

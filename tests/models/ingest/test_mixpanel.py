"""Lines of Mixpanel become the rows that every other source has."""

import json
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from models.ingest.canonical_schema import ParsedLines
from models.ingest.mixpanel import MixpanelMapping
from models.ingest.source_config import MappingError
from models.primitives.json_types import JsonObject

GOLDEN = Path(__file__).parents[2] / "golden" / "mixpanel"
SHIPPED = Path(__file__).parents[3] / "tasks" / "sources" / "mappings" / "mixpanel.toml"
NOON = 1_602_590_400
"""2020-10-13, 12:00 UTC."""
DEVICE = "5d958f87-542d-4c10-9422-0ed75893dc81"


def mapping(**stated: Any) -> MixpanelMapping:
    return MixpanelMapping.parse({"kind": "mixpanel", "consent": "opt-out"} | stated, "test")


def parsed(*lines: JsonObject | str, **stated: Any) -> ParsedLines:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    return mapping(**stated).parse_lines(
        pa.table({"row_number": pa.array(range(len(texts)), pa.int64()), "text": texts})
    )


def event(what: str = "Product Viewed", **properties: Any) -> JsonObject:
    usual = {"time": NOON, "distinct_id": "ann", "$insert_id": "i-1", "product_id": "cup"}
    return {"event": what, "properties": {k: v for k, v in (usual | properties).items() if v != ""}}


def rows(*lines: JsonObject | str, **stated: Any) -> list[JsonObject]:
    return list(parsed(*lines, **stated).events.to_pylist())


def ids(*lines: JsonObject) -> list[str]:
    return [row["event_id"] for row in rows(*lines)]


def pairs(*lines: JsonObject) -> list[tuple[str, str]]:
    """The ids of one person: of each, as a device and as a user, unless it is surely a device."""
    return [(row["anonymous_id"], row["user_id"]) for row in _joined(*lines) if row["anonymous_id"] != row["user_id"]]


def _joined(*lines: JsonObject) -> list[JsonObject]:
    rows: list[JsonObject] = parsed(*lines).aliases.to_pylist()
    either = {row["anonymous_id"] for row in rows if not row["is_device"]}
    return [row for row in rows if not row["is_device"] or row["anonymous_id"] not in either]


def plain(value: Any) -> Any:
    """A row as it is written in the golden file: times as text, nothing where there is null."""
    if isinstance(value, dict):
        return {name: plain(content) for name, content in value.items() if content is not None}
    return value.isoformat() if isinstance(value, datetime) else value


def test_the_golden_lines_give_exactly_the_golden_rows() -> None:
    lines = (GOLDEN / "mixpanel.jsonl").read_text(encoding="utf-8").split("\n")
    result = parsed(*lines, **tomllib.loads(SHIPPED.read_text(encoding="utf-8")))
    for name, expected in json.loads((GOLDEN / "mixpanel.json").read_text(encoding="utf-8")).items():
        assert [plain(row) for row in getattr(result, name).to_pylist()] == expected, name


def test_times_in_seconds_and_milliseconds_are_the_same_moment_and_others_are_none() -> None:
    noon = [NOON, NOON * 1000, float(NOON), str(NOON), str(NOON * 1000)]
    none = [None, "soon", 1e30, -1e30, [NOON]]
    found = [row["occurred_at"] for row in rows(*(event(time=time) for time in (*noon, *none)))]
    assert found == [datetime(2020, 10, 13, 12, tzinfo=UTC)] * len(noon) + [None] * len(none)


def test_times_of_old_projects_are_in_the_zone_of_the_project() -> None:
    (row,) = rows(event(time=NOON), time_zone="Europe/Berlin")
    assert row["occurred_at"] == datetime(2020, 10, 13, 10, tzinfo=UTC)


def test_name_day_distinct_id_and_insert_id_make_an_event() -> None:
    same = [event(), event(time=NOON + 3600), event(time=(NOON + 5) * 1000), event(product_id="pan")]
    assert len(set(ids(*same))) == 1
    others = [
        event("Product Clicked"),
        event(time=NOON + 86_400),
        event(distinct_id="bob"),
        event(**{"$insert_id": "i-2"}),
    ]
    assert len(set(ids(event(), *others))) == 5


def test_a_later_merge_of_ids_leaves_the_event_and_its_user_the_same() -> None:
    before = event(distinct_id=f"$device:{DEVICE}", **{"$device_id": DEVICE})
    properties = {"$distinct_id_before_identity": f"$device:{DEVICE}", "$device_id": DEVICE}
    after = event(distinct_id="ann", **properties)
    first, second = rows(before, after)
    assert (first["event_id"], first["user_id"]) == (second["event_id"], second["user_id"])
    assert first["user_id"] == DEVICE
    assert pairs(before, after) == [(DEVICE, "ann")]


def test_an_unusable_insert_id_is_replaced_by_the_content() -> None:
    lines: list[JsonObject] = []
    unusable_ids = ("order:7", "x" * 37, "ümlaut", "", "undefined", "lmy47d", None)
    for insert_id in unusable_ids:
        unusable = event() | {"properties": event()["properties"] | {"$insert_id": insert_id}}
        other = unusable | {"properties": unusable["properties"] | {"product_id": "pan"}}
        moved = unusable | {"properties": unusable["properties"] | {"$distinct_id_before_identity": "ann"}}
        lines += [unusable, unusable, other, moved]
    result = parsed(*lines)
    made = result.events["event_id"].to_pylist()
    for place, insert_id in enumerate(unusable_ids):
        first, again, different, merged = made[4 * place : 4 * place + 4]
        assert first == again == merged != different, insert_id
    assert len(set(made)) == 2 * len(unusable_ids)
    assert result.cleaned["insert_id_unusable"] == 4 * (len(unusable_ids) - 1)  # and one is missing
    longest = {"$insert_id": "aB3-" * 9}
    assert len({*ids(event(**longest), event(**longest, product_id="pan"))}) == 1


def test_the_user_id_comes_before_the_device_and_joins_it() -> None:
    simplified = event(distinct_id="ann", **{"$user_id": "ann", "$device_id": DEVICE})
    (row,) = rows(simplified)
    assert (row["user_id"], row["is_device"]) == ("ann", False)
    assert pairs(simplified, simplified) == [(DEVICE, "ann")]
    assert pairs(event(distinct_id=f"$device:{DEVICE}", **{"$device_id": DEVICE})) == []


def test_identity_events_join_two_ids_and_are_no_interaction() -> None:
    merges = [["ann", DEVICE], ["bob", "ann"], [f"$device:{DEVICE[:-1]}0", "eve"], ["ann@work", "ann@home"], ["ann"]]
    lines = [
        ("$identify", {"$identified_id": "dan", "$anon_id": DEVICE[:-1] + "1"}),
        ("$create_alias", {"distinct_id": DEVICE[:-1] + "2", "alias": "fay"}),
        ("$merge", {"$distinct_ids": [DEVICE[:-1] + "4", "gus"]}),
        *(("$merge", {"$distinct_ids": one}) for one in merges),
        ("$identify", {"$identified_id": "ann"}),
    ]
    made = [{"event": name, "properties": {"time": NOON} | properties} for name, properties in lines]
    assert pairs(*made) == [
        (DEVICE[:-1] + "1", "dan"),
        (DEVICE[:-1] + "2", "fay"),
        (DEVICE[:-1] + "4", "gus"),
        (DEVICE, "ann"),
        ("ann", "bob"),
        (DEVICE[:-1] + "0", "eve"),
        ("ann@home", "ann@work"),
    ]
    assert parsed(*made).routed["kind"].to_pylist() == ["alias"] * len(made)


def test_the_usual_spellings_of_a_property_are_found() -> None:
    names = ["product_id", "Product ID", "Product Id", "product id", "productId", "item_id", "Item ID", "itemId"]
    lines = [event(**({"product_id": ""} | {name: f"cup-{n}"})) for n, name in enumerate(names)]
    assert [row["item_id"] for row in rows(*lines)] == [f"cup-{n}" for n in range(len(names))]


def test_own_events_and_properties_come_first() -> None:
    own = {"events": {"Recipe Cooked": "consume"}, "properties": {"Article/Number": "product_id"}}
    assert rows(event("Recipe Cooked", **{"Article/Number": "a-1"}), properties={"Article/Number": "product_id"}) == []
    stated = {"kind": "mixpanel", "consent": "opt-out", **own}
    table = pa.table({"row_number": [0], "text": [json.dumps(event("recipe_cooked", **{"Article/Number": "a-1"}))]})
    (row,) = MixpanelMapping.parse(stated, "own").parse_lines(table).events.to_pylist()
    assert (row["event_type"], row["item_id"]) == ("consume", "a-1")


def test_a_purchase_has_one_event_for_each_product_of_its_list() -> None:
    products = [{"Item ID": "cup", "Price": 2.5, "qty": 2}, {"sku": "P-1", "name": "Pan"}, "lid", 7]
    result = parsed(event("Purchase", product_id="", Items=products, order_id=12, currency="EUR"))
    bought = result.events.to_pylist()
    assert [row["item_id"] for row in bought] == ["cup", "P-1", "lid", "7"]
    assert [row["event_id"].rpartition("#")[2] for row in bought] == ["1", "2", "3", "4"]
    assert (bought[0]["quantity"], bought[0]["value"], bought[0]["session_id"]) == (2, 5, "12")
    assert dict(zip(*result.items.select(["item_id", "title"]).to_pydict().values(), strict=True)) == {
        "P-1": "Pan",
        "cup": None,
    }


def test_the_catalogue_takes_no_product_brand_from_the_device() -> None:
    (item,) = parsed(event(name="Cup", **{"$brand": "Samsung"})).items.to_pylist()
    assert (item["title"], item["brand"]) == ("Cup", None)


def test_every_stated_consent_has_to_be_true() -> None:
    lines = [event(a=True), event(a=True, b="false"), event(), event(a="true", b="true")]
    assert [row["consent"] for row in rows(*lines, consent_properties=["a", "b"])] == [True, False, None, True]
    signup = {"event": "Signed Up", "properties": {"time": NOON, "distinct_id": "ann", "consent": False}}
    assert parsed(signup).answers.select(["user_id", "consent"]).to_pylist() == [{"user_id": "ann", "consent": False}]


def test_profiles_state_allowed_traits_of_users_and_none_of_devices() -> None:
    traits = {"plan": "gold", "$email": "ann@example.org", "consent": True, "$last_seen": "2026-11-01T10:00:00"}
    lines = [{"$distinct_id": who, "$properties": traits} for who in ("ann", 7, f"$device:{DEVICE}")]
    result = parsed(*lines, traits=["plan", "$email"])
    assert [row["user_id"] for row in result.users.to_pylist()] == ["ann", "7"]
    ann = result.users.to_pylist()[0]
    assert (ann["attributes"], ann["consent"]) == ({"plan": "gold"}, True)
    assert ann["occurred_at"] == datetime(2026, 11, 1, 10, tzinfo=UTC)
    assert result.routed["kind"].to_pylist() == ["identify"] * 3


def test_a_line_that_is_no_event_states_its_fault() -> None:
    faults = {
        "": "blank",
        '{"event": ': "not_json",
        "[1]": "not_an_object",
        '{"error": "Internal error"}': "event_missing",
        '{"event": "Purchase"}': "properties_not_an_object",
        '{"event": "Purchase", "properties": [1]}': "properties_not_an_object",
        '{"event": "Purchase", "properties": null}': "properties_not_an_object",
    }
    result = parsed(*faults, event())
    assert result.unreadable["reason"].to_pylist() == list(faults.values())
    assert len(result.events) == 1


def test_no_value_loses_a_line() -> None:
    values = [None, 1, "x" * 5000, [], {}, [1], {"a": [None]}, True, -1e308, "\0"]
    names = ["time", "distinct_id", "$insert_id", "products", "price", "$device_id", "consent"]
    lines = [
        {"event": "Purchase", "properties": event()["properties"] | {name: value}} for name in names for value in values
    ]
    result = parsed(*lines)
    assert sorted(result.events["row_number"].to_pylist()) == list(range(len(lines)))
    assert result.read == len(lines)


def test_own_names_need_known_targets() -> None:
    with pytest.raises(MappingError, match="no member is called colour"):
        mapping(properties={"Colour": "colour"})
    with pytest.raises(MappingError, match="there is no event type 'eat'"):
        mapping(events={"Eaten": "eat"})
    with pytest.raises(MappingError, match="there is no time zone 'Mars'"):
        mapping(time_zone="Mars")

"""Events, items and users are read as their mapping states."""

from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest

from models.errors import TailorbirdError
from models.ingest.source_config import Spelling
from models.ingest.tabular import transform
from models.ingest.tabular.table_mapping import EventsMapping, ItemsMapping, UsersMapping
from models.ingest.tabular.unreadable_cells import CELLS, KEYS, unreadable_profile
from models.ingest.tabular.values import words
from models.primitives.json_types import JsonObject

EVENTS = EventsMapping(
    file="f",
    event_id=["basket", "product"],
    user_id="who",
    item_id="product",
    session_id="basket",
    occurred_at="at",
    quantity="pieces",
    constants={"event_type": "purchase", "currency": "USD"},
)
ITEMS = ItemsMapping(
    file="f",
    item_id="id",
    title=["name", "size"],
    sentence_case=True,
    category=["top", "middle"],
    attributes=["size"],
    not_merchandise=["FUEL", "MISC|COUPON"],
)


def events(rows: pa.Table, mapping: EventsMapping) -> pa.Table:
    return transform.events(rows, mapping).rows.drop_columns([KEYS, CELLS])


def sale(**changes: Any) -> pa.Table:
    row = {"basket": [7], "product": [8], "who": [9], "at": pa.array([datetime(2017, 1, 1)]), "pieces": [2]}
    return pa.table(row | changes)


def test_the_order_of_a_refund_may_be_in_a_column_of_its_own() -> None:
    stated = EVENTS.model_dump(exclude_unset=True, exclude={"constants"})
    mapping = EventsMapping(**stated, event_type="kind", refund_order="original")
    rows = [(7, "purchase", 3), (8, "refund", 7), (9, "refund", None), (10, None, 7)]
    columns = {name: [row[at] for row in rows] for at, name in enumerate(("basket", "kind", "original"))}
    others = {"product": [8] * 4, "who": [9] * 4, "at": pa.array([datetime(2017, 1, 1)] * 4), "pieces": [2] * 4}
    assert events(pa.table(columns | others), mapping)["session_id"].to_pylist() == ["7", "7", None, "10"]


def test_every_key_may_name_an_expression() -> None:
    mapping = EventsMapping(
        file="f",
        event_id=["basket", {"expr": "'line-' || product"}],
        user_id={"expr": "replace(text(who), '.0', '')"},
        item_id={"expr": "'sku-' || product"},
        occurred_at={"expr": "replace(\"at\", ' ', 'T')"},
        event_type={"expr": "if(pieces < 0, 'back', 'sold')"},
        event_types={"back": "refund", "sold": "purchase"},
        quantity={"expr": "abs(pieces)"},
        value={"expr": "abs(pieces) * 1.5"},
    )
    rows = sale(basket=[7, 7], product=[8, 9], who=[9.0, 9.0], at=["2017-01-01 00:00:00"] * 2, pieces=["-2", "oops"])
    first, second = events(rows, mapping).to_pylist()
    assert first["event_id"] == "7-line-8"
    assert (first["user_id"], first["item_id"], first["event_type"]) == ("9", "sku-8", "refund")
    assert (first["occurred_at"], first["quantity"], first["value"]) == (datetime(2017, 1, 1, tzinfo=UTC), 2.0, 3.0)
    assert (second["event_type"], second["quantity"], second["value"]) == ("purchase", None, None)


@pytest.mark.parametrize(("written", "decimal"), [(["1.5", " 2 ", ""], "."), (["1,5", " 2 ", None], ",")])
def test_numbers_that_are_stored_as_text_are_read_as_in_csv(written: list[Any], decimal: str) -> None:
    mapping = EVENTS.model_copy(update={"decimal": decimal})
    rows = pa.concat_tables([sale(pieces=pa.array([one], pa.string())) for one in written])
    assert events(rows, mapping)["quantity"].to_pylist() == [1.5, 2.0, None]


def test_a_prefix_separates_tables_with_equal_numbers() -> None:
    prefixed = EVENTS.model_copy(update={"event_id_prefix": "shop-"})
    assert events(sale(), prefixed)["event_id"].to_pylist() == ["shop-7-8"]
    assert events(sale(basket=pa.array([None], pa.int64())), prefixed)["event_id"].to_pylist() == [None]


@pytest.mark.parametrize("product", [pa.array([None], pa.int64()), pa.array([""]), pa.array([float("nan")])])
def test_an_id_of_several_columns_is_null_when_one_of_them_is_missing(product: pa.Array) -> None:
    event = events(sale(product=product), EVENTS).to_pylist()[0]
    assert event["event_id"] is None
    assert event["item_id"] is None
    assert event["session_id"] == "7"


def test_an_id_does_not_depend_on_the_others_that_are_read_with_it() -> None:
    cells = pa.array([12.0, 0.5, 1e10, None, float("nan"), 2.0**70, float("inf")])
    whole = [words(pa.table({"id": cells}), "id").to_pylist()]
    assert whole == [["12", "0.5", "10000000000", None, None, str(2.0**70), "inf"]]
    assert [words(pa.table({"id": cells.slice(i, 1)}), "id").to_pylist()[0] for i in range(len(cells))] == whole[0]


def seen(change: JsonObject, **row: Any) -> JsonObject:
    """Return one event of a mapping with further keys, from a row with further cells."""
    mapping = EventsMapping(**{**EVENTS.model_dump(exclude_unset=True), **change})
    return dict(events(sale(**row), mapping).to_pylist()[0])


def test_event_types_are_translated_or_stay_as_they_are() -> None:
    change = {"event_type": "what", "event_types": {"Play": "consume", "read": "consume"}, "constants": {}}
    mapping = EventsMapping(**{**EVENTS.model_dump(exclude_unset=True), **change})
    rows = pa.concat_tables([sale(what=[word]) for word in ("Play", "read", "view", "PLAY", "", "dance")])
    result = events(rows, mapping)["event_type"].to_pylist()
    assert result == ["consume", "consume", "view", "PLAY", None, "dance"]


def test_further_columns_of_an_event_are_kept() -> None:
    sender = ("user_agent", "ip")
    assert not {*sender} & seen({}).keys()
    change = {name: name for name in ("rating", "placement", "position", "recommendation_id", "value", *sender)}
    cells = {"rating": ["4.5"], "placement": ["home"], "position": [3], "recommendation_id": [77], "value": [12]}
    event = seen(change, **cells, user_agent=["Firefox"], ip=["10.0.0.1"])
    assert {name: event[name] for name in change} == {
        "rating": 4.5,
        "placement": "home",
        "position": 3,
        "recommendation_id": "77",
        "value": 12.0,
        "user_agent": "Firefox",
        "ip": "10.0.0.1",
    }


@pytest.mark.parametrize("position", [1.5, 3e9, float("nan"), float("-inf")])
def test_a_position_that_is_no_whole_number_is_null(position: float) -> None:
    assert seen({"position": "p"}, p=[position])["position"] is None


@pytest.mark.parametrize(
    ("answer", "consent"),
    [("YES", True), (" true ", True), ("no", False), ("?", False), ("", None), (None, None), (1, True), (False, False)],
)
def test_consent_is_yes_no_or_unknown(answer: Any, consent: bool | None) -> None:
    event = seen({"consent": "agreed"}, agreed=pa.array([answer]).cast(pa.string()) if answer is None else [answer])
    assert event["consent"] is consent
    assert list(event)[-1] == "consent"


def test_an_event_without_an_id_gets_one_from_its_content() -> None:
    mapping = EventsMapping(**EVENTS.model_dump(exclude_unset=True, exclude={"event_id"}))

    def identified(**change: Any) -> str:
        result = events(sale(**change), mapping).rename_columns({"user_id": "user_key"})
        return str(transform.identified(result)["event_id"].to_pylist()[0])

    assert events(sale(), mapping)["event_id"].to_pylist() == [None]
    assert identified() == identified() == identified(pieces=[3])
    assert identified().startswith("sha256:")
    later = pa.array([datetime(2017, 1, 1, 0, 0, 1)])
    changes: list[JsonObject] = [{}, {"basket": [1]}, {"product": [1]}, {"who": [1]}, {"at": later}]
    missing = {"who": pa.array([None], pa.int64())}
    assert len({identified(**change) for change in [*changes, missing]}) == 6


def test_a_column_that_cannot_be_read_is_named() -> None:
    with pytest.raises(TailorbirdError, match=r"column 'pieces' must hold numbers, found bool|date") as raised:
        seen({}, pieces=pa.array([date(2024, 1, 1)]))
    assert "2024" not in str(raised.value)
    with pytest.raises(TailorbirdError, match="column 'who' holds binary, which cannot be read as text"):
        seen({}, who=pa.array([b"\xff"]))


def test_currencies_are_spelt_by_the_standard_and_by_the_mapping() -> None:
    mapping = EventsMapping(
        file="f", user_id="who", item_id="product", occurred_at="at", currency="paid", constants={"event_type": "view"}
    )
    rows = pa.concat_tables([sale(paid=[word]) for word in (" usd", "EUR", "Taler", "shells", "")])
    result = transform.events(rows, mapping, Spelling(currency={"taler": "EUR"}))
    assert result.rows["currency"].to_pylist() == ["USD", "EUR", "EUR", "shells", None]
    assert result.counts == {"currency_respelt": 2, "zone_assumed": 5}


def test_declared_constants_fill_the_gaps_of_events_and_are_counted() -> None:
    change = {"value": "paid", "currency": "in", "constants": {"event_type": "view"}}
    fill = {"fill": {"quantity": 1, "value": 2.5, "currency": "EUR"}}
    mapping = EventsMapping(**{**EVENTS.model_dump(exclude_unset=True), **change, **fill})
    gap = {"pieces": pa.array([None], pa.int64()), "paid": [float("nan")], "in": pa.array([""])}
    rows = pa.concat_tables([sale(**gap), sale(paid=[9.0], **{"in": ["USD"]})])
    result = transform.events(rows, mapping)
    cells = result.rows.select(["quantity", "value", "currency"]).to_pylist()
    assert [tuple(row.values()) for row in cells] == [(1.0, 2.5, "EUR"), (2.0, 9.0, "USD")]
    assert result.counts == {"quantity_imputed": 1, "value_imputed": 1, "currency_imputed": 1, "zone_assumed": 2}


@pytest.mark.parametrize(
    ("at", "time_format", "assumed"),
    [
        (["2017-01-01 12:00", "2017-01-01T12:00:00Z", "noon", None], "timestamp", 1),
        (["01.02.2017", "x", "02.02.2017", None], "%d.%m.%Y", 2),
        (["01.02.2017 +01", "x"], "%d.%m.%Y %z", 0),
        ([1_483_272_000, None], "epoch_s", 0),
        (pa.array([datetime(2017, 1, 1), None]), "timestamp", 1),
        (pa.array([datetime(2017, 1, 1, tzinfo=UTC), None]), "timestamp", 0),
    ],
)
def test_times_without_a_zone_are_counted(at: Any, time_format: str, assumed: int) -> None:
    mapping = EventsMapping(**{**EVENTS.model_dump(exclude_unset=True), "time_format": time_format})
    rows = pa.table({name: [1] * len(at) for name in ("basket", "product", "who", "pieces")} | {"at": at})
    assert transform.events(rows, mapping).counts == ({"zone_assumed": assumed} if assumed else {})


def test_an_event_may_have_become_known_later_than_it_occurred() -> None:
    part = EventsMapping(
        file="e",
        user_id="u",
        item_id="i",
        occurred_at="at",
        received_at="seen",
        constants={"event_type": "view"},
        zone="Europe/Berlin",
    )
    rows = pa.table({"u": ["ann"], "i": ["ice"], "at": ["2024-06-01T10:00:00"], "seen": ["2024-06-03T10:00:00Z"]})
    [event] = transform.events(rows, part).rows.select(["occurred_at", "received_at"]).to_pylist()
    assert event == {
        "occurred_at": datetime(2024, 6, 1, 8, tzinfo=UTC),
        "received_at": datetime(2024, 6, 3, 10, tzinfo=UTC),
    }
    assert transform.kinds(part)["seen"] == "time"


def test_a_row_waits_if_its_value_is_null_because_of_a_cell_that_is_no_number() -> None:
    mapping = _bought({"expr": "if(kind = 'gift', 0.5, round(pieces * nullif(price, 0), 2))"})
    rows = pa.table(
        {
            "who": list("abcdef"),
            "what": ["x"] * 6,
            "at": ["2024-03-01"] * 6,
            "kind": ["sold", "sold", "gift", "sold", "sold", "sold"],
            "pieces": ["2", "2", "2", "two", "2", "two"],
            "price": ["1.5", "on request", "on request", "1.5", "n/a", "on request"],
        }
    )
    result = transform.events(rows, mapping)

    assert result.rows[KEYS].to_pylist() == [None, "|value|", None, "|value|", None, "|value|value|"]
    assert {one.column: one.count for one in result.unread} == {"pieces": 2, "price": 2}
    places = unreadable_profile(result.unread, result.rows, pa.array(range(2, 8)), "line")
    assert {one["column"]: one["places"] for one in places.values()} == {"pieces": [5, 7], "price": [3, 7]}


def test_a_mapping_that_puts_a_value_in_place_of_unreadable_cells_takes_the_row() -> None:
    rows = pa.table({"who": ["a"], "what": ["x"], "at": ["2024-03-01"], "price": ["on request"]})
    result = transform.events(rows, _bought({"expr": "coalesce(price, 1)"}))
    assert (result.rows[KEYS].to_pylist(), result.rows["value"].to_pylist()) == ([None], [1.0])


def _bought(value: Any) -> EventsMapping:
    stated = {"file": "f", "user_id": "who", "item_id": "what", "occurred_at": "at", "value": value}
    return EventsMapping.model_validate(stated | {"constants": {"event_type": "purchase"}})


def items(rows: pa.Table, mapping: ItemsMapping) -> pa.Table:
    return transform.items(rows, mapping).rows.drop_columns([KEYS, CELLS])


def users(rows: pa.Table, mapping: UsersMapping) -> pa.Table:
    return transform.users(rows, mapping).rows.drop_columns([KEYS, CELLS])


def goods(**changes: list[Any]) -> pa.Table:
    row: dict[str, list[Any]] = {"id": [1], "name": ["ICE  CREAM"], "size": ["1 L"], "top": ["FOOD"], "middle": ["ICE"]}
    return pa.table({name: pa.array(values, pa.string()) for name, values in (row | changes | {"id": ["1"]}).items()})


@pytest.mark.parametrize(
    ("mark", "expected"),
    [
        ("id in ('POST', 'D')", [False, True, False, True]),
        ("not matches(id, '[0-9]')", [False, True, False, True]),
        ("matches(lower(name), 'postage|discount')", [False, True, False, True]),
        ("number(price) = 0", [True, True, False, True]),
        ([{"expr": "id = 'D'"}, {"expr": "price > 100"}], [True, False, False, True]),
        (["FOOD", {"expr": "id = 'D'"}], [True, True, False, False]),
        ("kind = 'service'", [True, False, True, True]),
    ],
)
def test_items_that_are_no_merchandise_are_marked_by_id_pattern_price_attribute_or_category(
    mark: Any, expected: list[bool]
) -> None:
    rows = pa.table(
        {
            "id": ["POST", "22423", "D", "85123A"],
            "name": ["Postage", "Ice", "Discount", "Pan"],
            "price": ["18", "500", "0", None],
            "kind": [None, "service", None, "goods"],
            "top": ["SERVICES", "ICE", "SERVICES", "FOOD"],
            **dict.fromkeys(("size", "middle"), ["x"] * 4),
        }
    )
    mapping = ItemsMapping.model_validate(ITEMS.model_dump(exclude_defaults=True) | {"not_merchandise": mark})
    assert items(rows, mapping)["available"].to_pylist() == expected


def test_attributes_may_be_computed_under_a_name() -> None:
    size = {"name": "litres", "expr": "replace(size, ' L', '')"}
    mapping = ItemsMapping.model_validate(
        {"file": "f", "item_id": "id", "title": "name", "category": [{"expr": "lower(top)"}], "attributes": [size]}
        | {"fill": {"litres": "0"}, "price": {"expr": "number(id) * 2"}}
    )
    [item] = items(goods(), mapping).to_pylist()
    assert item["attributes"] == {"litres": "1", "litres_imputed": None}
    assert (item["category"], item["price"]) == ("food", 2.0)


@pytest.mark.parametrize(
    ("name", "size", "title"),
    [("ICE  CREAM", "1 L", "Ice cream, 1 l"), (None, "1 L", "1 l"), ("", None, "Item 1"), (None, None, "Item 1")],
)
def test_titles_are_written_as_people_write_them_without_empty_parts(
    name: str | None, size: str | None, title: str
) -> None:
    assert items(goods(name=[name], size=[size]), ITEMS)["title"].to_pylist() == [title]


@pytest.mark.parametrize(
    ("top", "middle", "category", "available"),
    [
        ("FOOD", None, "FOOD", True),
        (None, None, None, True),
        ("", "", None, True),
        ("FUEL", "GAS", "FUEL|GAS", False),
        ("MISC", "COUPONS", "MISC|COUPONS", False),
        ("MISC", "TOYS", "MISC|TOYS", True),
    ],
)
def test_categories_are_paths_and_other_things_than_goods_are_not_available(
    top: str | None, middle: str | None, category: str | None, available: bool
) -> None:
    item = items(goods(top=[top], middle=[middle]), ITEMS).to_pylist()[0]
    assert (item["category"], item["available"]) == (category, available)


def test_values_that_a_declared_constant_fills_are_marked() -> None:
    fill = {"category": "OTHER", "price": 1, "size": "one size"}
    change = {"price": "cost", "fill": fill}
    mapping = ItemsMapping(**{**ITEMS.model_dump(exclude_unset=True), **change})
    empty = goods(top=[None], middle=[""], size=[None], cost=[None])
    full = goods(cost=["2.5"])
    result = transform.items(pa.concat_tables([empty, full]), mapping)
    assert result.counts == {"category_imputed": 1, "price_imputed": 1, "attribute_imputed": 1}
    missing, there = result.rows.to_pylist()
    assert (missing["category"], missing["price"], there["category"], there["price"]) == ("OTHER", 1, "FOOD|ICE", 2.5)
    marks = {"category_imputed": "true", "price_imputed": "true", "size_imputed": "true"}
    assert missing["attributes"] == {"size": "one size", **marks}
    assert there["attributes"] == {"size": "1 L", **dict.fromkeys(marks)}


def test_only_traits_on_the_allow_list_enter() -> None:
    rows = pa.table({"id": [5], "age": ["18-24"], "email": ["a@example.org"], "kids": pa.array([None], pa.string())})
    result = users(rows, UsersMapping(file="f", user_id="id", attributes=["age", "kids"]))
    assert result.to_pylist() == [{"user_id": "5", "attributes": {"age": "18-24", "kids": None}}]


def test_categories_and_brands_are_spelt_as_declared_before_anything_is_decided_by_them() -> None:
    mapping = ItemsMapping(
        file="f", item_id="id", title="name", category=["top", "middle"], brand="size", not_merchandise=["Fuel"]
    )
    spelling = Spelling(category={"FUELS": "Fuel"}, brand={"1 l": "One"})
    result = transform.items(goods(top=["fuels "], middle=["ICE"]), mapping, spelling)
    item = result.rows.to_pylist()[0]
    assert (item["category"], item["brand"], item["available"]) == ("Fuel|ICE", "One", False)
    assert result.counts == {"category_respelt": 1, "brand_respelt": 1}


def test_a_table_of_users_may_state_consent_and_its_time() -> None:
    mapping = UsersMapping(
        file="f",
        user_id="id",
        attributes=["age"],
        fill={"age": "?"},
        consent="ok",
        consent_words=["Ja"],
        consent_at="at",
        time_format="%d.%m.%Y",
        zone="Europe/Berlin",
    )
    rows = pa.table(
        {
            "id": ["a", "b", "c"],
            "age": ["18-24", None, None],
            "ok": ["JA ", "nein", ""],
            "at": ["01.02.2024", "soon", None],
        }
    )
    result = transform.users(rows, mapping)
    assert result.rows["consent"].to_pylist() == [True, False, None]
    assert result.rows["consent_at"].to_pylist() == [datetime(2024, 1, 31, 23, tzinfo=UTC), None, None]
    assert result.rows.schema.field("consent_at").type == pa.timestamp("us", tz="UTC")
    assert result.counts == {"attribute_imputed": 2}
    assert transform.kinds(mapping)["at"] == "any"
    assert transform.kinds(mapping.model_copy(update={"time_format": "epoch_s"}))["at"] == "number"
    assert mapping.read == ["id", "age", "ok", "at"]

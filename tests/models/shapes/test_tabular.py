from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from models.shapes import tabular
from models.shapes.mapping import EventsMapping, ItemsMapping, UsersMapping

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
    category=["top", "middle"],
    attributes=["size"],
    not_merchandise=["FUEL", "MISC|COUPON"],
)


def sale(**changes: Any) -> pa.Table:
    row = {"basket": [7], "product": [8], "who": [9], "at": pa.array([datetime(2017, 1, 1)]), "pieces": [2]}
    return pa.table(row | changes)


def goods(**changes: list[Any]) -> pa.Table:
    row: dict[str, list[Any]] = {"id": [1], "name": ["ICE  CREAM"], "size": ["1 L"], "top": ["FOOD"], "middle": ["ICE"]}
    return pa.table({name: pa.array(values, pa.string()) for name, values in (row | changes | {"id": ["1"]}).items()})


def test_an_event_says_what_its_mapping_says() -> None:
    assert tabular.events(sale(), EVENTS).to_pylist() == [
        {
            "event_id": "7-8",
            "user_id": "9",
            "session_id": "7",
            "item_id": "8",
            "event_type": "purchase",
            "occurred_at": datetime(2017, 1, 1, tzinfo=UTC),
            "quantity": 2.0,
            "value": None,
            "currency": "USD",
        }
    ]


@pytest.mark.parametrize("product", [pa.array([None], pa.int64()), pa.array([""]), pa.array([float("nan")])])
def test_an_id_of_several_columns_is_null_when_one_of_them_is_missing(product: pa.Array) -> None:
    event = tabular.events(sale(product=product), EVENTS).to_pylist()[0]
    assert event["event_id"] is None
    assert event["item_id"] is None
    assert event["session_id"] == "7"


def test_ids_that_a_program_turned_into_floats_are_the_same_ids() -> None:
    exact = tabular.events(sale(basket=[31_198_570_044]), EVENTS)
    floats = tabular.events(sale(basket=pa.array([31_198_570_044.0, None])[:1], who=[9.0]), EVENTS)
    assert floats.equals(exact)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (pa.array(["2017-01-01T12:00:00"]).cast(pa.timestamp("s")), datetime(2017, 1, 1, 12, tzinfo=UTC)),
        (pa.array([1_483_272_000_000_000_999], pa.timestamp("ns")), datetime(2017, 1, 1, 12, tzinfo=UTC)),
        (
            pa.array([1_483_272_000_000], pa.timestamp("ms", tz="America/New_York")),
            datetime(2017, 1, 1, 12, tzinfo=UTC),
        ),
        (pa.array([None], pa.timestamp("us")), None),
    ],
    ids=["naive", "nanoseconds", "another zone", "null"],
)
def test_times_come_out_in_utc(at: pa.Array, expected: datetime | None) -> None:
    assert tabular.events(sale(at=at), EVENTS)["occurred_at"].to_pylist() == [expected]


def test_a_number_that_is_none_is_null() -> None:
    pieces = pa.array([float("nan")])
    assert tabular.events(sale(pieces=pieces), EVENTS)["quantity"].null_count == 1


def test_the_character_that_postgres_refuses_is_replaced() -> None:
    event = tabular.events(sale(who=["a\0b"]), EVENTS).to_pylist()[0]
    assert event["user_id"] == "a\N{REPLACEMENT CHARACTER}b"


def test_titles_are_written_as_people_write_them() -> None:
    assert tabular.items(goods(), ITEMS)["title"].to_pylist() == ["Ice cream, 1 l"]


@pytest.mark.parametrize(
    ("name", "size", "title"), [(None, "1 L", "1 l"), ("", None, "Item 1"), (None, None, "Item 1")]
)
def test_what_a_title_lacks_is_left_out(name: str | None, size: str | None, title: str) -> None:
    assert tabular.items(goods(name=[name], size=[size]), ITEMS)["title"].to_pylist() == [title]


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
def test_categories_are_paths_and_what_nobody_shops_for_is_not_available(
    top: str | None, middle: str | None, category: str | None, available: bool
) -> None:
    item = tabular.items(goods(top=[top], middle=[middle]), ITEMS).to_pylist()[0]
    assert (item["category"], item["available"]) == (category, available)


def test_only_traits_on_the_allow_list_enter() -> None:
    rows = pa.table({"id": [5], "age": ["18-24"], "email": ["a@example.org"], "kids": pa.array([None], pa.string())})
    users = tabular.users(rows, UsersMapping(file="f", user_id="id", attributes=["age", "kids"]))
    assert users.to_pylist() == [{"user_id": "5", "attributes": {"age": "18-24", "kids": None}}]


def test_a_table_without_traits_can_be_read() -> None:
    rows = pa.table({"id": [5, 6]})
    users = tabular.users(rows, UsersMapping(file="f", user_id="id", attributes=[]))
    assert users["attributes"].to_pylist() == [{}, {}]


def test_only_needed_columns_are_read_and_each_once() -> None:
    assert tabular.needed(EVENTS) == ["basket", "product", "who", "at", "pieces"]
    assert tabular.needed(ITEMS) == ["id", "name", "size", "top", "middle"]

import random
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from models.ingest.tabular import transform
from models.ingest.tabular.duplicate_rows import SCHEMA, Choice, changes, chosen, statements
from models.ingest.tabular.table_mapping import ItemsMapping
from models.primitives.json_types import JsonObject

MAPPING: JsonObject = {
    "file": "f",
    "item_id": "code",
    "title": "name",
    "price": "price",
    "category": ["kind"],
    "attributes": ["colour"],
    "fill": {"category": "Other"},
    "updated_at": "at",
    "not_merchandise": "number(price) = 0",
}
ROWS = [
    ("22423", "CAKESTAND", "10.95", "Baking", "red", "2010-12-05"),
    ("22423", "CAKESTAND", "12.75", None, "green", "2011-01-01"),
    ("22423", "REGENCY CAKESTAND 3 TIER", "12.75", "Kitchen", None, "2010-12-01"),
    ("84077", "?", "1.00", None, None, None),
    ("22423", "damaged", "0", None, None, "2010-12-03"),
    ("21000", None, None, None, None, None),
]
NAMES = ("code", "name", "price", "kind", "colour", "at")


def item(choose: Any, code: str = "22423", rows: list[tuple[Any, ...]] = ROWS) -> JsonObject:
    mapping = ItemsMapping.model_validate(MAPPING | {"choose": choose})
    columns = zip(NAMES, zip(*rows, strict=True), strict=True)
    table = pa.table({name: pa.array(values, pa.string()) for name, values in columns})
    result = chosen(transform.items(table, mapping).rows, "item_id", mapping.choices).to_pylist()
    [row] = [row for row in result if row["item_id"] == code]
    return row


def test_by_default_the_last_row_of_an_item_counts() -> None:
    row = item({})
    assert (row["title"], row["price"], row["category"], row["available"]) == ("damaged", 0.0, "Other", False)


@pytest.mark.parametrize(
    ("name", "choice", "value"),
    [
        ("title", "most_frequent", "CAKESTAND"),
        ("title", "longest", "REGENCY CAKESTAND 3 TIER"),
        ("title", "latest", "CAKESTAND"),
        ("title", "last", "damaged"),
        ("price", "most_frequent", 12.75),
        ("price", "latest", 12.75),
        ("category", "latest", "Baking"),
        ("category", "last", "Kitchen"),
    ],
)
def test_each_column_is_chosen_by_the_mapping(name: str, choice: Choice, value: Any) -> None:
    row = item({name: choice})
    assert row[name] == value
    assert row["attributes"]["category_imputed"] == (None if name == "category" else "true")
    assert row["available"], "most of its rows are merchandise"


def test_one_choice_may_hold_for_all_columns_and_attributes() -> None:
    row = item("latest")
    assert (row["title"], row["price"], row["category"]) == ("CAKESTAND", 12.75, "Baking")
    assert row["attributes"] == {"colour": "green", "category_imputed": None}
    assert row["updated_at"] == datetime(2010, 12, 3, tzinfo=UTC)


@pytest.mark.parametrize("seed", range(3))
def test_the_recent_price_is_the_most_frequent_of_the_last_four_weeks_as_a_recount_finds(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 -- made-up data
    days = sorted(chance.sample(range(3 * 365), 300))
    start = datetime(1970, 1, 1, tzinfo=UTC)
    lines = [(day // 7, chance.choice(["1.00", "2.00", "3.00", None])) for day in days]
    dates = [f"{start + timedelta(days=day):%Y-%m-%d}" for day in days]
    rows = [("22423", "LAMP", price, None, None, date) for date, (_, price) in zip(dates, lines, strict=True)]
    newest = max(week for week, price in lines if price)
    recent = [float(price) for week, price in lines if price and week > newest - 4]
    best = max(recent.count(price) for price in recent)
    last = next(price for price in reversed(recent) if recent.count(price) == best)
    assert item({"price": "recent"}, rows=rows)["price"] == last


def test_of_values_that_are_as_good_the_last_counts() -> None:
    tied = [row for row in ROWS if row[0] == "22423"][1:]
    assert item("most_frequent", rows=tied)["title"] == "damaged"
    longer = ("22423", "REGENCY CAKESTAND 4 TIER", *tied[0][2:])
    assert item("longest", rows=[*tied, longer])["title"] == "REGENCY CAKESTAND 4 TIER"


@pytest.mark.parametrize("choose", [{}, "most_frequent", "latest", "longest"])
def test_an_item_without_any_value_stays_as_it_is(choose: Any) -> None:
    row = item(choose, "21000")
    assert (row["title"], row["price"], row["category"]) == ("Item 21000", None, "Other")
    assert row["attributes"]["category_imputed"] == "true"


ITEMS = {"file": "f", "item_id": "code", "title": "name", "price": "price", "updated_at": "at"}


def mapping(**more: Any) -> ItemsMapping:
    return ItemsMapping.model_validate(ITEMS | more)


def day(number: int) -> datetime:
    return datetime(2024, 6, number, tzinfo=UTC)


def stated(*rows: tuple[str, int]) -> list[tuple[str, int]]:
    """What is left of statements (value and day) about the price of one item, given in the order of a file."""
    table = [("cup", "price", value, day(at), number) for number, (value, at) in enumerate(rows)]
    columns = [pa.array(values, kind) for values, kind in zip(zip(*table, strict=True), SCHEMA.types, strict=True)]
    result = changes(pa.table(columns, schema=SCHEMA)).to_pylist()
    return [(row["value"], row["moment"].day) for row in result]


def test_of_equal_statements_in_a_row_the_first_and_the_last_are_kept() -> None:
    assert stated(("2", 1), ("2", 2), ("2", 3), ("3", 4), ("2", 5)) == [("2", 1), ("2", 3), ("3", 4), ("2", 5)]
    assert stated(("3", 4), ("2", 1)) == [("2", 1), ("3", 4)], "in order of time"
    assert stated(("2", 1), ("3", 1)) == [("3", 1)], "of one time the last row counts"


def test_values_that_the_source_lacks_or_without_a_time_are_not_stated() -> None:
    part = mapping(fill={"price": 9.0})
    rows = [("cup", "Cup", "2", "2024-06-01"), ("cup", None, None, "2024-06-02"), ("cup", "Mug", "3", None)]
    rows.append(("cup", "Old", "4", "0000-06-01"))
    table = pa.table(dict(zip(("code", "name", "price", "at"), map(list, zip(*rows, strict=True)), strict=True)))
    result = changes(statements(transform.items(table, part).rows, part.dated, pa.array([0, 1, 2, 3])))
    assert result.select(["name", "value"]).to_pylist() == [
        {"name": "price", "value": "2"},
        {"name": "title", "value": "Cup"},
    ]


@pytest.mark.parametrize(
    ("choose", "names"),
    [
        ({}, ["title", "price"]),
        ("latest", ["title", "price"]),
        ({"title": "most_frequent"}, ["price"]),
        ({"title": "longest", "price": "latest"}, ["price"]),
        ("most_frequent", []),
    ],
)
def test_values_that_all_rows_choose_have_no_time(choose: Any, names: list[str]) -> None:
    assert mapping(choose=choose).dated == names


@pytest.mark.parametrize(
    ("choose", "fault"),
    [
        ({"title": "lowest"}, "choose.title cannot be lowest: it is a text, and that choice needs a number"),
        ({"price": "any"}, "choose.price cannot be any: it is a number, and that choice needs a condition"),
        ({"price": "all"}, "choose.price cannot be all: it is a number, and that choice needs an attribute"),
    ],
)
def test_a_choice_that_a_column_cannot_have_is_refused(choose: Any, fault: str) -> None:
    with pytest.raises(ValueError, match=re.escape(fault)):
        ItemsMapping.model_validate(MAPPING | {"choose": choose})

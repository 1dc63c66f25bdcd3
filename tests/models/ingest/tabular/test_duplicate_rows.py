import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from models.ingest.tabular import transform
from models.ingest.tabular.duplicate_rows import Choice, chosen
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


def test_an_item_of_one_row_is_that_row() -> None:
    assert item({}, "84077") == item("most_frequent", "84077")

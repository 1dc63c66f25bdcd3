from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from models.ingest.tabular import transform
from models.ingest.tabular.duplicate_rows import SCHEMA, changes, statements
from models.ingest.tabular.table_mapping import ItemsMapping

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


def test_without_a_column_of_the_time_nothing_is_dated() -> None:
    assert mapping(updated_at=None).dated == []

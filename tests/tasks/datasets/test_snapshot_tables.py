from typing import Any

import duckdb
import narwhals as nw
import pyarrow as pa
import pytest

from infra.installation import Installation
from models.datasets.labels import LabelConfig, impressions
from models.features.planned_queries import columns_of
from tasks.datasets.event_workspace import Workspace
from tasks.datasets.snapshot_tables import NO_IMPRESSIONS, TablePart, write

EVENTS = """
    user_key INTEGER, item_id INTEGER, event_type VARCHAR, occurred_at BIGINT, session_id VARCHAR, quantity DOUBLE,
    value DOUBLE, recommendation_id VARCHAR, placement VARCHAR, position INTEGER, rating DOUBLE, received_at BIGINT,
    refunded_at BIGINT
"""


def part_with(number: int) -> TablePart:
    return lambda _space: pa.table({"number": [number]}).to_reader()


def written(installation: Installation, tables: dict[str, list[TablePart]]) -> list[str]:
    with duckdb.connect() as connection:
        return [*write(installation, Workspace(connection, {}), "v1", tables)]


def test_all_tables_of_a_cut_come_before_those_of_the_next_and_keep_every_part(installation: Installation) -> None:
    tables = {
        "some": [part_with(1)],
        "more": [part_with(2), part_with(3), part_with(4)],
        "others": [part_with(5), part_with(6)],
    }
    assert written(installation, tables) == ["some", "more", "others", "more", "others", "more"]
    read = installation.lake.read_dataset
    assert {name: sorted(read("v1", name)["number"].to_pylist()) for name in tables} == {
        "some": [1],
        "more": [2, 3, 4],
        "others": [5, 6],
    }


def test_a_second_run_replaces_what_the_first_has_left(installation: Installation) -> None:
    for numbers in ((1, 2), (3, 4)):
        written(installation, {"some": [part_with(number) for number in numbers]})
    assert sorted(installation.lake.read_dataset("v1", "some")["number"].to_pylist()) == [3, 4]


def test_after_a_part_that_fails_no_further_work_begins(installation: Installation) -> None:
    begun = []

    def failing(_space: Workspace) -> Any:
        raise ValueError("no room")

    def noted(number: int) -> TablePart:
        def part(space: Workspace) -> Any:
            begun.append(number)
            return part_with(number)(space)

        return part

    with pytest.raises(ValueError, match="no room"):
        written(installation, {"some": [failing, *(noted(number) for number in range(20))]})
    assert not begun


def test_a_shop_without_impressions_has_the_table_of_one_with_them() -> None:
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE events ({EVENTS})")
        some = impressions(nw.from_native(connection.table("events")), 0, 86_400, LabelConfig())
        assert columns_of(nw.from_native(connection.sql(NO_IMPRESSIONS))) == columns_of(some)

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import duckdb
import narwhals as nw
import pyarrow as pa
import pytest

from infra.installation import Installation
from models.datasets.labels import LabelConfig, impressions
from models.features.planned_queries import columns_of
from tasks.datasets.event_workspace import Workspace
from tasks.datasets.snapshot_tables import NO_IMPRESSIONS, TablePart, content_hash, write

EVENTS = """
    user_key INTEGER, item_id INTEGER, event_type VARCHAR, occurred_at BIGINT, session_id VARCHAR, quantity DOUBLE,
    value DOUBLE, recommendation_id VARCHAR, placement VARCHAR, position INTEGER, rating DOUBLE, received_at BIGINT,
    refunded_at BIGINT
"""
ROWS = "(VALUES ('a', 1, 0.5), ('b', 2, NULL), ('c', NULL, 1.25)) AS rows (name, n, x)"


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


def digest(rows: str, *keys: str) -> str:
    with duckdb.connect() as connection:
        return content_hash(connection, f"(SELECT * FROM {rows})", keys)


def changed(old: str, new: str) -> str:
    return ROWS.replace(old, new)


@pytest.mark.parametrize("keys", [(), ("name",)])
def test_the_order_of_rows_does_not_matter_and_their_number_does(keys: tuple[str, ...]) -> None:
    turned = "(VALUES ('c', NULL, 1.25), ('a', 1, 0.5), ('b', 2, NULL)) AS rows (name, n, x)"
    assert digest(turned, *keys) == digest(ROWS, *keys)
    twice = changed("('a', 1, 0.5)", "('a', 1, 0.5), ('a', 1, 0.5)")
    assert digest(twice, *keys) != digest(ROWS, *keys)


@pytest.mark.parametrize("keys", [(), ("name",)])
@pytest.mark.parametrize(("old", "new"), [("'a'", "'z'"), ("2, NULL", "3, NULL"), ("0.5", "0.51"), ("1.25", "NULL")])
def test_every_value_counts(old: str, new: str, keys: tuple[str, ...]) -> None:
    assert digest(changed(old, new), *keys) != digest(ROWS, *keys)


def test_numbers_that_change_places_are_seen_and_rounding_errors_of_sums_are_not_where_rows_have_keys() -> None:
    turned = "(VALUES ('a', 1, 1.25), ('b', 2, NULL), ('c', NULL, 0.5)) AS rows (name, n, x)"
    doubles = "(SELECT name, n, x::DOUBLE * {} AS x FROM {})"
    expected = digest(doubles.format("1", ROWS), "name")
    assert digest(doubles.format("1", turned), "name") != expected
    assert digest(doubles.format("(1 + 1e-14)", ROWS), "name") == expected


def test_an_empty_table_that_has_lost_its_columns_has_the_digest_of_an_empty_one() -> None:
    lost, empty = "(SELECT 1 AS nothing WHERE false)", "(SELECT 1 AS user_key, 1.5 AS label WHERE false)"
    with duckdb.connect() as connection:
        assert content_hash(connection, lost, ("user_key",)) == content_hash(connection, empty, ("user_key",))


def test_a_table_that_several_threads_ask_for_at_once_is_computed_once() -> None:
    together, worked_out = Barrier(3), []

    def read_count(name: str) -> Any:
        with space.cursor() as cursor:

            def query() -> str:
                worked_out.append(name)
                return f"SELECT '{name}' AS name"

            together.wait(10)
            return cursor.cached(query, name).collect("pyarrow").item()

    with duckdb.connect() as connection, ThreadPoolExecutor(3) as pool:
        connection.execute("ATTACH ':memory:' AS cached")
        space = Workspace(connection, {})
        assert [*pool.map(read_count, ("one", "one", "another"))] == ["one", "one", "another"]
    assert sorted(worked_out) == ["another", "one"]


def test_as_many_threads_work_as_the_machine_has_cores_however_many_ask() -> None:
    with duckdb.connect(config={"threads": 4}) as connection:
        space = Workspace(connection, {})
        now = "SELECT current_setting('threads')"
        for asking, helping in ((1, 4), (2, 3), (9, 1)):
            with space.limit_engine_threads(asking):
                assert connection.sql(now).fetchall() == [(helping,)]
        assert connection.sql(now).fetchall() == [(4,)]

from collections.abc import Callable
from typing import Any

import duckdb
import narwhals as nw
import pytest

from models.features.expressions import Frame
from models.features.planned_queries import MOMENT, TEMPORARY, Queries, columns_of, moved, plan
from models.features.tables.registry import Build
from models.primitives.time import DAY
from tasks.datasets.snapshot_tables import BUILDS

EVENTS = """
    user_key INTEGER, item_id INTEGER, event_type VARCHAR, occurred_at BIGINT, session_id VARCHAR, quantity DOUBLE,
    value DOUBLE, recommendation_id VARCHAR, placement VARCHAR, position INTEGER, rating DOUBLE, received_at BIGINT,
    refunded_at BIGINT
"""
ITEMS = "item_id INTEGER, category VARCHAR, brand VARCHAR, price DOUBLE, available BOOLEAN"


def built_for(build: Build, connection: duckdb.DuckDBPyConnection, catalogue: str, schema: str, moment: int) -> Queries:
    """Return the queries of a table that is built for this moment alone."""
    stored: dict[str, str] = {}

    def store(frame: Callable[[], Frame], name: str) -> Frame:
        if name not in stored:
            query = frame().to_native().sql_query()
            connection.execute(f'CREATE {"TEMP" if schema == TEMPORARY else ""} TABLE {schema}."{name}" AS {query}')
            stored[name] = query
        return nw.from_native(connection.table(f'{schema}."{name}"'))

    events, items = (nw.from_native(connection.table(name)) for name in ("events", catalogue))
    table = build(events, items, moment, store).to_native().sql_query()
    return Queries(tuple(stored.items()), table)


@pytest.mark.parametrize(
    ("catalogue", "schema"), [("items", TEMPORARY), ("items", "kept"), ('kept."catalogue {moment}"', "kept")]
)
@pytest.mark.parametrize("name", BUILDS)
def test_the_queries_of_a_plan_are_those_of_a_table_that_is_built_for_the_moment(
    name: str, catalogue: str, schema: str
) -> None:
    build: Any = BUILDS[name]
    for moment in (86_400, 1_514_764_800, 2_147_000_000):
        items = catalogue.format(moment=moment)
        with duckdb.connect() as connection:
            connection.execute("ATTACH ':memory:' AS kept")
            connection.execute(f"CREATE TABLE events ({EVENTS}); CREATE TABLE {items} ({ITEMS})")
            expected = built_for(build, connection, items, schema, moment)
            columns = [columns_of(nw.from_native(connection.table(table))) for table in ("events", items)]
            assert plan(build, *columns, catalogue.format(moment=MOMENT), schema).at(moment) == expected
    assert str(moment) in expected.table


def test_the_moment_and_what_is_days_before_it_are_moved() -> None:
    sql = f'SELECT ({MOMENT} - at) AS age FROM "history {MOMENT}" WHERE at >= CAST({MOMENT - 365 * DAY} AS INTEGER)'

    assert moved(sql, 40_000_000) == (
        'SELECT (40000000 - at) AS age FROM "history 40000000" WHERE at >= CAST(8464000 AS INTEGER)'
    )


def test_other_numbers_stay() -> None:
    sql = f"SELECT 86400, 0.{MOMENT}, {MOMENT}1, a{MOMENT}, 1000000000, 2147483647"

    assert moved(sql, 0) == sql

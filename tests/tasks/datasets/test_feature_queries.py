from collections.abc import Callable
from typing import Any

import duckdb
import narwhals as nw
import pytest

from models.datasets.impression_labels import impressions
from models.datasets.labels import LabelConfig
from models.features.expressions import Frame
from models.features.tables.registry import Build
from tasks.datasets.feature_queries import Queries, catalogue_at, columns_of, plan
from tasks.datasets.snapshot_tables import BUILDS, NO_IMPRESSIONS

EVENTS = """
    user_key INTEGER, item_id INTEGER, event_type VARCHAR, occurred_at BIGINT, session_id VARCHAR, quantity DOUBLE,
    value DOUBLE, recommendation_id VARCHAR, placement VARCHAR, position INTEGER, rating DOUBLE, received_at BIGINT,
    refunded_at BIGINT
"""
ITEMS = "item_id INTEGER, category VARCHAR, brand VARCHAR, price DOUBLE, available BOOLEAN"


def built_for(build: Build, connection: duckdb.DuckDBPyConnection, items: str, moment: int) -> Queries:
    """Return the queries of a table that is built for this moment alone."""
    stored: dict[str, str] = {}

    def store(frame: Callable[[], Frame], name: str) -> Frame:
        if name not in stored:
            query = frame().to_native().sql_query()
            connection.execute(f'CREATE TABLE cached."{name}" AS {query}')
            stored[name] = query
        return nw.from_native(connection.table(f'cached."{name}"'))

    events, catalogue = (nw.from_native(connection.table(name)) for name in ("events", items))
    table = build(events, catalogue, moment, store).to_native().sql_query()
    return Queries(tuple(stored.items()), table)


@pytest.mark.parametrize("dated", [False, True])
@pytest.mark.parametrize("name", BUILDS)
def test_the_queries_of_a_plan_are_those_of_a_table_that_is_built_for_the_moment(name: str, dated: bool) -> None:
    build: Any = BUILDS[name]
    for moment in (86_400, 1_514_764_800, 2_147_000_000):
        items = f'cached."{catalogue_at(moment)}"' if dated else "item_attributes"
        with duckdb.connect() as connection:
            connection.execute("ATTACH ':memory:' AS cached")
            connection.execute(f"CREATE TABLE events ({EVENTS}); CREATE TABLE {items} ({ITEMS})")
            expected = built_for(build, connection, items, moment)
            tables = (nw.from_native(connection.table(table)) for table in ("events", items))
            assert plan(build, *map(columns_of, tables), dated=dated).at(moment) == expected
    assert str(moment) in expected.table


def test_a_shop_without_impressions_has_the_table_of_one_with_them() -> None:
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE events ({EVENTS})")
        some = impressions(nw.from_native(connection.table("events")), 0, 86_400, LabelConfig())
        assert columns_of(nw.from_native(connection.sql(NO_IMPRESSIONS))) == columns_of(some)

from collections.abc import Callable
from typing import Any

import duckdb
import narwhals as nw
import pandas as pd
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
ROWS = [
    ("ann", "milk", "purchase", 10, 11, "s1", 1.0, 2.0),
    ("ann", "tea", "purchase", 10, 11, "s1", 1.0, 5.0),
    ("bob", "milk", "purchase", 20, 21, "s2", 2.0, 4.0),
    ("bob", "tea", "view", 30, 31, None, None, None),
]
COLUMNS = ["user_key", "item_id", "event_type", "occurred_at", "received_at", "session_id", "quantity", "value"]
GOODS = [("milk", "food|dairy", "moo", 2.0), ("tea", "food|drinks", "leaf", 6.0)]
CATALOGUE = ["category", "brand", "price"]
NUMBERS = {"ann": 0, "bob": 1, "milk": 0, "tea": 1}


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


def test_the_moment_and_what_is_days_before_it_are_moved_and_other_numbers_stay() -> None:
    sql = f'SELECT ({MOMENT} - at) AS age FROM "history {MOMENT}" WHERE at >= CAST({MOMENT - 365 * DAY} AS INTEGER)'
    expected = 'SELECT (40000000 - at) AS age FROM "history 40000000" WHERE at >= CAST(8464000 AS INTEGER)'
    assert moved(sql, 40_000_000) == expected
    others = f"SELECT 86400, 0.{MOMENT}, {MOMENT}1, a{MOMENT}, 1000000000, 2147483647"
    assert moved(others, 0) == others


def frames(
    connection: duckdb.DuckDBPyConnection, *, coded: bool = False
) -> list[nw.LazyFrame[duckdb.DuckDBPyRelation]]:
    events, items = pd.DataFrame(ROWS, columns=COLUMNS), pd.DataFrame(GOODS, columns=[COLUMNS[1], *CATALOGUE])
    if coded:
        events = events.assign(user_key=events.user_key.map(NUMBERS), item_id=events.item_id.map(NUMBERS))
        items = items.assign(item_id=items.item_id.map(NUMBERS))
    return [nw.from_native(connection.from_df(frame)) for frame in (events, items)]


@pytest.mark.parametrize("name", BUILDS)
def test_keys_may_be_numbers_as_well_as_words(name: str) -> None:
    with duckdb.connect() as connection:
        words, numbers = (
            BUILDS[name](*frames(connection, coded=coded), 100).collect("pandas").to_native() for coded in (False, True)
        )
    for key in {"user_key", "item_id"} & {*words}:
        words[key] = words[key].map(NUMBERS)
    order = [column for column in ("user_key", "item_id", "position") if column in words]
    pd.testing.assert_frame_equal(
        *(t.sort_values(order, ignore_index=True) for t in (words, numbers)), check_dtype=False
    )

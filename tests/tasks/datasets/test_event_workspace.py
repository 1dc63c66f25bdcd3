from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import duckdb

from tasks.datasets.event_workspace import Workspace


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

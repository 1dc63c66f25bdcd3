"""The pool of connections on a real server."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from sqlalchemy import make_url

from serving.stores.postgres import Postgres, connection_options
from serving.stores.shared_loads import PostgresDownError

pytestmark = pytest.mark.anyio

HOLD = "SELECT pg_sleep($1)"


@asynccontextmanager
async def opened(url: str, size: int = 2, seconds: float = 3.0) -> AsyncIterator[Postgres]:
    postgres = Postgres(url, size, seconds)
    try:
        yield postgres
    finally:
        await postgres.close()


async def test_connections_are_bounded_and_used_again(database: str) -> None:
    async with opened(database) as postgres:
        own = "SELECT pg_backend_pid(), pg_sleep(0.01)"
        rows = await asyncio.gather(*(postgres.fetch(own) for _ in range(12)))
        assert len({row[0][0] for row in rows}) == 2


async def test_a_statement_that_takes_too_long_ends_at_the_limit_and_its_connection_is_replaced(database: str) -> None:
    async with opened(database, seconds=0.5) as postgres:
        await postgres.warm()
        clock = asyncio.get_running_loop().time
        started = clock()
        with pytest.raises(PostgresDownError):
            await postgres.fetch(HOLD, 30.0)
        assert clock() - started < 2
        assert [row[0] for row in await postgres.fetch("SELECT 7")] == [7]


async def test_a_connection_in_an_impossible_state_is_replaced(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torn: list[asyncpg.Connection] = []

    async def fetch(connection: asyncpg.Connection, *_: object) -> None:
        """Raise what asyncpg does if the server ended while a statement was prepared."""
        torn.append(connection)
        monkeypatch.undo()
        raise asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress")

    async with opened(database) as postgres:
        monkeypatch.setattr(asyncpg.Connection, "fetch", fetch)
        assert [row[0] for row in await postgres.fetch("SELECT 7")] == [7]
        assert torn[0].is_closed()


async def test_a_connection_that_was_closed_while_idle_is_replaced(database: str) -> None:
    async with opened(database) as postgres:
        await postgres.warm()
        others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() " + (
            "AND datname = current_database()"
        )
        await postgres.fetch(others)
        assert [(await postgres.fetch("SELECT 7"))[0][0] for _ in range(4)] == [7] * 4


async def test_a_request_that_is_cancelled_leaves_no_connection_behind(database: str) -> None:
    async with opened(database) as postgres:
        for _ in range(6):
            task = asyncio.create_task(postgres.fetch(HOLD, 30.0))
            await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert (await postgres.fetch("SELECT 7"))[0][0] == 7


async def test_a_closed_port_is_reported_at_once() -> None:
    async with opened("postgresql://nobody@127.0.0.1:9/none") as postgres:
        clock = asyncio.get_running_loop().time
        started = clock()
        for _ in range(20):
            with pytest.raises(PostgresDownError):
                await postgres.fetch("SELECT 1")
        assert clock() - started < 1
        assert postgres.breaker.is_open


async def test_a_server_that_accepts_and_stays_silent_costs_the_limit_a_few_times() -> None:
    clock, seconds = asyncio.get_running_loop().time, []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/none"
        async with opened(address, seconds=0.1) as postgres:
            for _ in range(20):
                started = clock()
                with pytest.raises(PostgresDownError):
                    await postgres.fetch("SELECT 1")
                seconds.append(clock() - started)
    assert max(seconds) < 0.3
    assert sum(one > 0.05 for one in seconds) <= 4


async def test_a_refused_statement_does_not_end_the_connection(database: str, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(database, size=1) as postgres:
        with pytest.raises(PostgresDownError):
            await postgres.fetch("SELECT $1::int / 0", 12345)
        assert (await postgres.fetch("SELECT 7"))[0][0] == 7
    assert "DivisionByZeroError" in caplog.text
    assert "12345" not in caplog.text


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("postgres://me:pa%40ss@db:5433/shop", "postgresql://me:pa%40ss@db:5433/shop"),
        (
            "postgresql+psycopg2://me@db/shop?sslmode=require&connect_timeout=5",
            "postgresql://me@db/shop?sslmode=require",
        ),
    ],
)
def test_addresses_of_every_form_are_translated(address: str, expected: str) -> None:
    assert make_url(connection_options(address)["dsn"]) == make_url(expected)

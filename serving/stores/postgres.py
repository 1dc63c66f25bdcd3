"""Connections to Postgres: for single statements that may take a limited time, and pools for transactions."""

import asyncio
import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import asyncpg

from infra.configuration import addresses
from serving.stores.outages import CircuitBreaker, PostgresDownError

_PASSED_ON: Final = ("sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "options", "application_name")
"""Options of an address that asyncpg knows too; the others are libpq's own, such as its timeouts."""
_CONNECT_SECONDS: Final = 3.0
_LOST: Final = (
    # The last one is what asyncpg raises for a connection that ends while it prepares a statement.
    *(asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError, asyncpg.InternalClientError),
    *(asyncpg.AdminShutdownError, asyncpg.CrashShutdownError, asyncpg.CannotConnectNowError),
)
_log: Final = logging.getLogger(__name__)


class Postgres:
    """Up to `size` connections for single statements, opened on demand.

    A request waits at most `seconds`, also when the server hangs: a statement that takes longer ends its connection.
    """

    def __init__(self, address: str, size: int = 4, seconds: float = 0.1, first: Sequence[Any] = ()) -> None:
        """Prepare for an address; nothing is opened yet.

        `first` is a statement with its arguments that each new connection runs before requests use it. Its plan may
        take longer than a request waits: on a busy machine every request would end a connection that never gets ready.
        """
        self._address, self._size, self._seconds, self._first = address, size, seconds, first
        self.breaker = CircuitBreaker()
        self._pool: asyncpg.Pool | None = None
        self._taking: set[asyncio.Task[Any]] = set()

    @property
    def size(self) -> int:
        """Return the largest number of connections."""
        return self._size

    async def fetch(self, statement: str, *arguments: Any) -> Sequence[asyncpg.Record]:
        """Return the rows of one statement that reads. Raises PostgresDownError."""
        if not self.breaker.allows():
            raise PostgresDownError("Postgres did not answer lately.")
        try:
            async with asyncio.timeout(self._seconds):
                rows = await self._fetch(statement, arguments)
        except (TimeoutError, asyncpg.PostgresError, *_LOST) as error:
            self.breaker.failed()
            if isinstance(error, asyncpg.PostgresError) and not isinstance(error, _LOST):
                _log.error("Postgres refused a statement: %s: %s", type(error).__name__, statement)
            raise PostgresDownError("Postgres does not answer.") from error
        self.breaker.succeeded()
        return rows

    async def warm(self) -> None:
        """Open all connections, so that no request waits for one."""
        taken = await asyncio.gather(*(self._take() for _ in range(self._size)), return_exceptions=True)
        for connection in taken:
            if self._pool is not None and not isinstance(connection, BaseException):
                await self._pool.release(connection)

    async def _fetch(self, statement: str, arguments: tuple[Any, ...]) -> Sequence[asyncpg.Record]:
        """Run the statement; a connection that was lost while idle is replaced."""
        try:
            return await self._run(statement, arguments)
        except _LOST:
            return await self._run(statement, arguments)

    async def _run(self, statement: str, arguments: tuple[Any, ...]) -> Sequence[asyncpg.Record]:
        connection = await self._take()
        assert self._pool is not None
        try:
            rows: Sequence[asyncpg.Record] = await connection.fetch(statement, *arguments)
        except BaseException as error:
            if not isinstance(error, asyncpg.PostgresError):
                connection.terminate()  # the answer may come later, or never, and the pool would wait for it
            raise
        finally:
            await self._pool.release(connection)
        return rows

    async def _take(self) -> Any:
        """Return a connection. It is opened beside the request, which waits for it no longer than for a statement."""
        if self._pool is None:
            self._pool = await pool_of(self._address, self._size, timeout=_CONNECT_SECONDS, init=self._prepare)
        if self._pool.get_size() == self._size:  # none has to be opened
            return await self._pool.acquire()
        task = asyncio.create_task(_acquired(self._pool))
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(self._give_back)
            raise

    def _give_back(self, task: "asyncio.Task[Any]") -> None:
        """Release the connection for which no request waits any longer."""
        if self._pool is not None and not task.cancelled() and task.exception() is None:
            releasing = asyncio.ensure_future(self._pool.release(task.result()))
            self._taking.add(releasing)
            releasing.add_done_callback(self._taking.discard)

    async def _prepare(self, connection: Any) -> None:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                if self._first:
                    await connection.fetch(*self._first)
        except BaseException:
            connection.terminate()
            raise

    async def close(self) -> None:
        """Close all connections, without waiting for a server that hangs."""
        for task in self._taking:
            task.cancel()
        if self._pool is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._pool.close()


async def _acquired(pool: asyncpg.Pool) -> Any:
    return await pool.acquire()


async def pool_of(address: str, size: int = 4, *, durable: bool = True, **options: Any) -> asyncpg.Pool:
    """Return a pool that opens connections on demand, and keeps them.

    Its statements leave nothing behind in a connection. So none is reset after use, which would take a round trip.
    Without `durable`, a crash of PostgreSQL may undo the commits of the last second, in their order.
    """
    return await asyncpg.create_pool(
        **connection_options(address),
        min_size=0,
        max_size=size,
        max_queries=sys.maxsize,
        max_inactive_connection_lifetime=0,
        reset=_leave_it,
        server_settings={} if durable else {"synchronous_commit": "off"},
        **options,
    )


async def _leave_it(connection: asyncpg.Connection) -> None:
    """Reset nothing."""


def connection_options(address: str) -> dict[str, Any]:
    """Return asyncpg's arguments for an address in any form of `postgresql://`. Raises AddressRefusedError."""
    url = addresses.database(address)
    query = {name: str(value) for name, value in url.query.items() if name in _PASSED_ON}
    host = url.query.get("host")
    target = url.set(drivername="postgresql", query=query)
    if host is not None and not url.host:  # a socket's folder
        target = target.update_query_dict({"host": str(host)})
    return {"dsn": target.render_as_string(hide_password=False)}

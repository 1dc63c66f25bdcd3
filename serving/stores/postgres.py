"""Connections to Postgres: a small pool for single statements, and pools for transactions of a few statements.

A request waits at most `seconds`, also when the server hangs. asyncpg's own pool behind a wrapper takes twice the
processor time for a statement, and waits for the server when one is cancelled.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import asyncpg

from infra.configuration import addresses
from serving.stores.shared_loads import CircuitBreaker, PostgresDownError

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
    """Up to `size` connections, opened on demand."""

    def __init__(self, address: str, size: int = 4, seconds: float = 0.1, first: Sequence[Any] = ()) -> None:
        """Prepare for an address; nothing is opened yet.

        `first` is a statement with its arguments that each new connection runs before requests use it. Its plan may
        take longer than a request waits: on a busy machine every request would end a connection that never gets ready.
        """
        self._options, self.size, self._seconds = connection_options(address), size, seconds
        self._first = first
        self.breaker = CircuitBreaker()
        self._idle: deque[asyncpg.Connection] = deque()
        self._waiting: deque[asyncio.Future[asyncpg.Connection]] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._used = 0
        self._closed = False

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
        for _ in range(self.size - self._used):
            self._open_one()
        await asyncio.gather(*self._opening, return_exceptions=True)

    async def _fetch(self, statement: str, arguments: tuple[Any, ...]) -> Sequence[asyncpg.Record]:
        """Run the statement; a connection that was lost while idle is replaced."""
        try:
            return await self._run(statement, arguments)
        except _LOST:
            return await self._run(statement, arguments)

    async def _run(self, statement: str, arguments: tuple[Any, ...]) -> Sequence[asyncpg.Record]:
        connection = await self._take()
        try:
            rows: Sequence[asyncpg.Record] = await connection.fetch(statement, *arguments)
        except asyncpg.PostgresError:
            self._put(connection)
            raise
        except BaseException:
            # Its answer may come later, or never. Waiting for either is what this pool avoids.
            connection.terminate()
            self._put(connection)
            raise
        self._put(connection)
        return rows

    async def _take(self) -> asyncpg.Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            self._used -= 1
        waiting: asyncio.Future[asyncpg.Connection] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self._open_one()
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                self._put(waiting.result())
            raise

    def _put(self, connection: asyncpg.Connection) -> None:
        """Give a connection to the request that waits longest, or keep it."""
        if connection.is_closed() or self._closed:
            connection.terminate()
            self._used -= 1
            if self._waiting:
                self._open_one()
            return
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(connection)
                return
        self._idle.append(connection)

    def _open_one(self) -> None:
        """Open a connection in the background: a request waits for it no longer than for a statement."""
        if self._used < self.size and not self._closed:
            self._used += 1
            task = asyncio.create_task(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                connection = await self._connect()
        except BaseException as error:
            self._used -= 1
            refusal = error if isinstance(error, asyncpg.PostgresError) else OSError("Postgres cannot be reached.")
            while self._waiting and not self._used:  # no other connection will serve them
                if not (waiting := self._waiting.popleft()).done():
                    waiting.set_exception(refusal)
            if not isinstance(error, Exception):
                raise
            return
        self._put(connection)

    async def _connect(self) -> asyncpg.Connection:
        connection = await asyncpg.connect(**self._options, timeout=_CONNECT_SECONDS)
        try:
            if self._first:
                await connection.fetch(*self._first)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def close(self) -> None:
        """Close all connections, without waiting for a server that hangs."""
        self._closed = True
        for task in list(self._opening):
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.gather(*(connection.close() for connection in self._idle), return_exceptions=True)
        for connection in self._idle:
            connection.terminate()
        self._idle.clear()


async def pool_of(address: str, size: int = 4, *, durable: bool = True) -> asyncpg.Pool:
    """Return a pool that opens connections on demand.

    Its statements leave nothing behind in a connection. So none is reset after use, which would take a round trip.
    Without `durable`, a crash of PostgreSQL may undo the commits of the last second, in their order.
    """
    return await asyncpg.create_pool(
        **connection_options(address),
        min_size=0,
        max_size=size,
        reset=_leave_it,
        server_settings={} if durable else {"synchronous_commit": "off"},
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

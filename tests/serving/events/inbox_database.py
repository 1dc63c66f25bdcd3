"""A database with an inbox, messages to send, and a switch that takes the database away."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import create_engine, text

from infra.database.engine import engine
from infra.services.embedded_postgres import EmbeddedPostgres
from serving.events.message import Message, Sender, feedback_message
from serving.events.spool import Spool
from serving.events.writer import EventWriter

T = TypeVar("T")
MEGABYTE = 2**20
_NUMBERS = itertools.count(1000)


def click(number: int | None = None, item: str = "cup", **sender: Any) -> Message:
    """A click of a user who agrees."""
    number = next(_NUMBERS) if number is None else number
    known = {"user_key": f"key of {number % 7}", "consent": True} | sender
    return feedback_message({"kind": "click", "item_id": item}, Sender(1, **known), f"m{number}")


class InboxDatabase:
    """The database of a test as the API sees it."""

    def __init__(self, url: str, server: EmbeddedPostgres, folder: Path) -> None:
        self.url, self.server, self.folder = url, server, folder
        self.name = url.rpartition("/")[2].partition("?")[0]

    @property
    def address(self) -> str:
        return self.url.replace("postgresql+psycopg2", "postgresql")

    @asynccontextmanager
    async def writer(self, limit: int = 8 * MEGABYTE) -> AsyncIterator[EventWriter]:
        """A running writer, which is closed at the end."""
        pool = await asyncpg.create_pool(self.address, min_size=0, max_size=4, timeout=2)
        writer = EventWriter(pool, Spool(self.folder, limit))
        await writer.start()
        try:
            yield writer
        finally:
            await writer.close()
            await pool.close()

    def rows(self, statement: str, **values: Any) -> list[Any]:
        with engine(self.url).begin() as connection:
            result = connection.execute(text(statement), values)
            return list(result.all()) if result.returns_rows else []

    def ids(self) -> list[str]:
        """The ids in the inbox, in order."""
        return [row.message_id for row in self.rows("SELECT message_id FROM event_inbox ORDER BY inbox_id")]

    def go_away(self) -> None:
        """End all connections and let none in."""
        self._administer(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS false")
        self._administer(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.name}'")

    def come_back(self) -> None:
        """Let connections in again."""
        self._administer(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS true")

    def _administer(self, statement: str) -> None:
        admin = create_engine(self.server.url(), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text(statement))
        admin.dispose()

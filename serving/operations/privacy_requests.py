"""Records requests of people that come over the API, and reads their state."""

import asyncio
from typing import Any, Final

from sqlalchemy import Engine, text

from infra.database.privacy_requests import COPY_DAYS, Asked, record_request
from infra.database.schema.privacy_schema import ERASE, EXPORT, LIFT, RESTRICT
from serving.events.message import Message
from serving.events.store import store
from serving.stores.postgres import pool_of

Row = dict[str, Any]
_MADE: Final = f"""
    FROM identity.privacy_files AS made
    WHERE made.request_id = {{number}} AND made.made_at > now() - interval '{COPY_DAYS} days'"""
_READ: Final = f"""
    SELECT request_id AS number, kind, state, users, actor, reason, suppress, purpose, asked_at, due_at, done_at,
        removed, state = 'open' AND due_at < now() AS is_late,
        EXISTS (SELECT {_MADE.format(number="request.request_id")}) AS has_file
    FROM identity.privacy_requests AS request"""
_WAITING: Final = (ERASE, EXPORT, RESTRICT, LIFT)
"""Kinds that the deployment `privacy` has to carry out: it knows the devices of users."""


class PrivacyRequests:
    """The requests in the database."""

    def __init__(self, database: Engine, due_days: int) -> None:
        """Give each request so many days."""
        self._database, self._due_days = database, due_days

    async def record(self, asked: Asked) -> Row | None:
        """Record a request, and apply what counts at once; None while an erasure of users to lift waits."""
        return await asyncio.to_thread(self._record, asked)

    async def find(self, number: int) -> Row | None:
        """Return a request; None for an unknown number."""
        found = await asyncio.to_thread(self._rows, f"{_READ} WHERE request_id = :number", number=number)
        return found[0] if found else None

    async def page(self, most: int, offset: int) -> list[Row]:
        """Return requests, the newest first."""
        ordered = f"{_READ} ORDER BY request_id DESC LIMIT :most OFFSET :offset"
        return await asyncio.to_thread(self._rows, ordered, most=most, offset=offset)

    async def file(self, number: int) -> bytes | None:
        """Return the copy that a request made, as a zip; None without one."""
        found = await asyncio.to_thread(self._rows, f"SELECT content {_MADE.format(number=':number')}", number=number)
        return bytes(found[0]["content"]) if found else None

    def _record(self, asked: Asked) -> Row | None:
        with self._database.begin() as connection:
            number = record_request(connection, asked, self._due_days, waits=asked.kind in _WAITING)
        return None if number is None else self._rows(f"{_READ} WHERE request_id = :number", number=number)[0]

    def _rows(self, statement: str, **values: int) -> list[Row]:
        with self._database.connect() as connection:
            return [dict(row) for row in connection.execute(text(statement), values).mappings()]


def send(place: str, message: Message) -> None:
    """Put a message into the inbox of a database; the reconciler applies it within seconds."""

    async def sent() -> None:
        pool = await pool_of(place, 1)
        async with pool.acquire() as connection:
            await store(connection, [message])
        await pool.close()

    asyncio.run(sent())

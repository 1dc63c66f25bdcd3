"""Opens the writers of messages at the start of a server; at its end everything that waits becomes durable."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from infra.configuration.settings import Settings
from serving.events.impressions import ImpressionLog
from serving.events.spool import FOLDER, NoSpool, Spool
from serving.events.writer import EventWriter
from serving.stores.database.connection_options import connection_options

_CONNECTIONS: Final = 2
"""The most connections of a writer."""
_MEGABYTE: Final = 2**20


@asynccontextmanager
async def event_writer(settings: Settings, place: str) -> AsyncIterator[tuple[EventWriter, ImpressionLog]]:
    """Open the writer of messages, and the log of shown answers, which uses it."""
    pool = await asyncpg.create_pool(**connection_options(place), min_size=0, max_size=_CONNECTIONS)
    writer = EventWriter(pool, Spool(settings.var / FOLDER, settings.spool_mb * _MEGABYTE))
    impressions = ImpressionLog(writer, settings.impressions_share)
    await writer.start()
    await impressions.start()
    try:
        yield writer, impressions
    finally:
        await impressions.close()
        await writer.close()
        pool.terminate()


@asynccontextmanager
async def call_writer(place: str) -> AsyncIterator[EventWriter]:
    """Open the writer of calls, which are never on disk: their senders repeat them."""
    pool = await asyncpg.create_pool(**connection_options(place), min_size=0, max_size=_CONNECTIONS)
    writer = EventWriter(pool, NoSpool())
    await writer.start()
    try:
        yield writer
    finally:
        await writer.close()
        pool.terminate()

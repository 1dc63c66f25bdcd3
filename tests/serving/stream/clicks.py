"""Messages as a program publishes them, and a settlement of them."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from infra.keys.credentials import Pseudonyms
from models.ingest.segment.segment_mapping import SegmentMapping
from serving.collector.collector import Collector
from serving.stream.delivery import Delivery, MessageReader
from serving.stream.settlement import Settlement
from tests.serving.api.fakes import PSEUDONYM_KEY
from tests.serving.events.inbox_database import InboxDatabase

KEYS = Pseudonyms(PSEUDONYM_KEY)
AGREED = {"consent": {"categoryPreferences": {"Personalization": True}}}
NOW = datetime.now(UTC)
REFUSES = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'check_violation'; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON event_inbox FOR EACH ROW WHEN (NEW.message_id LIKE 'poison%')
    EXECUTE FUNCTION refuse()"""
"""Lets PostgreSQL refuse messages whose id begins with `poison`."""


def click(number: int, item: str = "cup", user: str = "ann", minutes: float = 0, **stated: Any) -> bytes:
    """A click of a user who agrees, so many minutes ago."""
    at = (NOW - timedelta(minutes=minutes)).isoformat()
    call = {"type": "track", "event": "Product Clicked", "messageId": f"m{number}", "userId": user, "timestamp": at}
    return json.dumps({**call, "properties": {"product_id": item}, "context": AGREED, **stated}).encode()


def delivery(body: bytes, **stated: Any) -> Delivery:
    return Delivery(body, datetime.now(UTC), **stated)


@asynccontextmanager
async def settlement_of(inbox: InboxDatabase) -> AsyncIterator[Settlement]:
    """The settlement of the source `bus` in a database."""
    mapping = SegmentMapping.model_validate({"name": "bus", "kind": "segment"})
    pool = await asyncpg.create_pool(inbox.address, min_size=0, max_size=4, timeout=2)
    try:
        yield Settlement(pool, MessageReader(Collector.of(mapping, KEYS), "bus"))
    finally:
        await pool.close()


def letters(inbox: InboxDatabase) -> list[tuple[str, int, bytes]]:
    """The dead letters: reason, deliveries and body."""
    rows = inbox.rows("SELECT reason, times, body FROM identity.dead_letters ORDER BY reason, letter_id")
    return [(row.reason, row.times, bytes(row.body)) for row in rows]

"""Keeps messages that could not be stored. They hold raw ids, and so belong to the schema `identity`."""

import hashlib
from collections.abc import Sequence
from typing import Final

import asyncpg

from serving.stream.delivery import DeadLetter, Delivery

_KEEP: Final = """
    INSERT INTO identity.dead_letters AS letter (source, reason, detail, message_id, encoding, body, digest)
    SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::bytea[])
    ON CONFLICT (source, reason, digest) DO UPDATE
    SET times = letter.times + 1, last_at = now(), replayed_at = NULL"""
_REPLAYED: Final = "UPDATE identity.dead_letters SET replayed_at = now() WHERE letter_id = $1"
_OPEN: Final = "SELECT reason, count(*) FROM identity.dead_letters WHERE replayed_at IS NULL GROUP BY reason"
_LONGEST: Final = 255


async def keep(connection: asyncpg.Connection, source: str, letters: Sequence[DeadLetter]) -> None:
    """Store letters; one that was kept before is counted again."""
    known = {(one.reason, digest_of(one.delivery)): one for one in letters}
    if known:
        rows = [
            (one.reason, one.detail, _text(one.delivery.message_id), _text(one.delivery.encoding), one.delivery.body)
            for one in known.values()
        ]
        columns = [*map(list, zip(*rows, strict=True)), [digest for _, digest in known]]
        await connection.execute(_KEEP, source, *columns)


async def mark_replayed(connection: asyncpg.Connection, letter_id: int) -> None:
    """Record that the message of a letter was stored after all."""
    await connection.execute(_REPLAYED, letter_id)


async def open_letters(connection: asyncpg.Connection) -> dict[str, int]:
    """Return the number of letters that wait for a person, by reason."""
    return {row["reason"]: row["count"] for row in await connection.fetch(_OPEN)}


def digest_of(delivery: Delivery) -> bytes:
    """Return the hash that recognises a delivery that comes again."""
    content = delivery.cut.encode() or delivery.body
    return hashlib.sha256((delivery.message_id or "").encode(errors="replace") + b"\0" + content).digest()


def _text(value: str | None) -> str | None:
    """Return a text of the broker as PostgreSQL can store it."""
    if value is None:
        return None
    return value.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")[:_LONGEST]

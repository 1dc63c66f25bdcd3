"""Replays the spool into Postgres: in order, and each message once, also after a crash."""

import asyncio
from collections.abc import Sequence
from typing import BinaryIO, Final

import asyncpg

from serving.events.message import Message
from serving.events.spool import Spool, parsed
from serving.events.store import INVALID, store

_BYTES: Final = 2**18
"""About the size of the lines of one transaction."""


async def replay(pool: asyncpg.Pool, spool: Spool) -> int:
    """Store the messages of the spool, and delete each file after its last message; returns the number of new ones.

    A process that stops in between leaves the file, and the next one replays it: the inbox knows the ids that it has.
    """
    stored = 0
    with spool.replaying() as segments:
        for path in segments:
            with path.open("rb") as file:
                while lines := await asyncio.to_thread(_next_lines, file):
                    stored += await _store_lines(pool, spool, lines)
            path.unlink()
    return stored


def _next_lines(file: BinaryIO) -> list[bytes]:
    return file.readlines(_BYTES)


async def _store_lines(pool: asyncpg.Pool, spool: Spool, lines: Sequence[bytes]) -> int:
    messages = {line: parsed(line) for line in lines if line.endswith(b"\n")}
    sound = [message for message in messages.values() if message is not None]
    damaged = [line for line, message in messages.items() if message is None]
    stored, refused = await _stored(pool, sound)
    unusable = {id(message) for message in refused}
    damaged += [line for line, message in messages.items() if id(message) in unusable]
    if damaged:
        await asyncio.to_thread(spool.refuse, damaged)
    return stored


async def _stored(pool: asyncpg.Pool, messages: Sequence[Message]) -> tuple[int, list[Message]]:
    """Store messages; returns the number of new ones, and those that Postgres refuses."""
    if not messages:
        return 0, []
    try:
        async with pool.acquire() as connection:
            return (await store(connection, messages)).count("stored"), []
    except INVALID:
        if len(messages) == 1:
            return 0, [*messages]
    half = len(messages) // 2
    parts = [await _stored(pool, part) for part in (messages[:half], messages[half:])]
    return sum(count for count, _ in parts), [one for _, refused in parts for one in refused]

"""Remembers which users wait for new lists: a row each, which commits with the events and outlives a kill."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from serving.events.message import Message
from serving.events.store import PROFILE_LIFETIME

PAUSE: Final = timedelta(milliseconds=50)
"""Events of a user within this time are one request."""
_LEASE: Final = timedelta(seconds=15)
"""A request that was taken for so long is taken again: its consumer was killed."""
_ASK: Final = """
    INSERT INTO rescoring_requests AS waiting (user_key, occurred_at, due_at)
    SELECT acted.user_key, max(least(acted.at, now())), now() + $3::interval
    FROM unnest($1::text[], $2::timestamptz[]) AS acted (user_key, at)
    JOIN users ON users.user_key = acted.user_key AND users.consent
    WHERE acted.at > now() - $4::interval
        AND NOT EXISTS (SELECT FROM suppressions WHERE suppressions.user_key = acted.user_key)
    GROUP BY acted.user_key ORDER BY acted.user_key
    ON CONFLICT (user_key) DO UPDATE SET version = waiting.version + 1, bulk = false,
        occurred_at = greatest(waiting.occurred_at, excluded.occurred_at)"""
_TAKE: Final = """
    UPDATE rescoring_requests AS waiting SET due_at = now() + $2::interval, attempts = waiting.attempts + 1
    FROM (SELECT user_key FROM rescoring_requests WHERE due_at <= now() ORDER BY bulk, due_at LIMIT $1
          FOR UPDATE SKIP LOCKED) AS due
    WHERE waiting.user_key = due.user_key
    RETURNING waiting.user_key, waiting.occurred_at, waiting.version, waiting.attempts"""
# In the order of the keys, as they are added: two transactions that lock the same rows cannot block each other.
_LOCKED: Final = """
    SELECT waiting.user_key, waiting.version = given.version AS same
    FROM rescoring_requests AS waiting JOIN unnest($1::text[], $2::int[]) AS given (user_key, version) USING (user_key)
    ORDER BY waiting.user_key FOR UPDATE OF waiting"""
_FINISH: Final = f"""
    WITH done AS ({_LOCKED}), gone AS (
        DELETE FROM rescoring_requests AS waiting USING done WHERE waiting.user_key = done.user_key AND done.same)
    UPDATE rescoring_requests AS waiting SET due_at = now() + $3::interval, attempts = 0
    FROM done WHERE waiting.user_key = done.user_key AND NOT done.same
    RETURNING waiting.user_key"""
_GIVE_BACK: Final = f"""
    WITH done AS ({_LOCKED})
    UPDATE rescoring_requests AS waiting SET due_at = now(), attempts = greatest(waiting.attempts - 1, 0)
    FROM done WHERE waiting.user_key = done.user_key"""


@dataclass(frozen=True)
class Request:
    """A user whose lists are to follow an event."""

    user_key: str
    occurred_at: datetime
    """The time of the newest event."""
    version: int
    attempts: int
    """How often it was taken, this time included. An outage counts as none."""


async def ask(connection: asyncpg.Connection, messages: Sequence[Message]) -> None:
    """Ask for new lists of the users of messages who consent; a user who waits already is asked for once."""
    acted = [
        (one.user_key, one.effects.stated_at)
        for one in messages
        if one.user_key and one.consent is not False and (one.effects.acted_on or one.effects.joined)
    ]
    if acted:
        await connection.execute(_ASK, *map(list, zip(*acted, strict=True)), PAUSE, PROFILE_LIFETIME)


async def take(pool: asyncpg.Pool, most: int) -> list[Request]:
    """Return requests that are due, which no other consumer takes meanwhile."""
    return [Request(*row) for row in await pool.fetch(_TAKE, most, _LEASE)]


async def finish(pool: asyncpg.Pool, requests: Sequence[Request]) -> int:
    """Remove requests; returns how many stay because of newer events."""
    return len(await pool.fetch(_FINISH, *_names(requests), PAUSE)) if requests else 0


async def give_back(pool: asyncpg.Pool, requests: Sequence[Request]) -> None:
    """Let others take requests again, after an outage."""
    if requests:
        await pool.execute(_GIVE_BACK, *_names(requests))


def _names(requests: Sequence[Request]) -> tuple[list[str], list[int]]:
    return [one.user_key for one in requests], [one.version for one in requests]

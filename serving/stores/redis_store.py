"""A cache in Redis, shared by all processes. An error of Redis is a miss, and costs at most tens of milliseconds."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import redis
from redis.asyncio import Redis
from redis.asyncio.connection import BlockingConnectionPool
from redis.exceptions import RedisError, ResponseError

from models.errors import TailorbirdError
from serving.http.metrics import CACHE_REQUESTS
from serving.stores.shared_loads import REDIS_SECONDS, CircuitBreaker, cache_key

_CLAIM_MS: Final = 1500
"""A process that dies while it loads a value holds others up for so long at most."""
_SCAN_SECONDS: Final = 10
"""A search reads the names of all keys, a thousand at a time."""
_FIND_OR_CLAIM: Final = """
local value = redis.call('GET', KEYS[1])
if value then return {value, redis.call('PTTL', KEYS[1]), 0} end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {false, 0, 1} end
return {false, 0, 0}
"""
_GIVE_UP: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
_log: Final = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """The value of a key, or whether the caller has to load it."""

    value: bytes | None
    """None if it holds nothing."""
    seconds_left: float = 0.0
    """Until the value is dropped."""
    claimed: bool = False
    """Whether the caller is the one who loads the missing value."""


MISSING: Final = CacheEntry(None, claimed=True)
"""The result for a cache that cannot answer: every process loads the value itself."""


class RedisStore:
    """Bytes by key, and claims on loading them; both of one value share a hash slot of a cluster."""

    def __init__(self, url: str, seconds: float = REDIS_SECONDS) -> None:
        """Prepare for an address; nothing is opened yet. Connecting, and a command, may each take so many seconds."""
        # Beyond the limit a command waits for a connection: an error would count as one of Redis.
        pool = BlockingConnectionPool.from_url(
            url, max_connections=64, timeout=seconds, socket_timeout=seconds, socket_connect_timeout=seconds, retry=None
        )
        self._redis: Any = Redis(connection_pool=pool)
        self._find, self._give_up = (self._redis.register_script(text) for text in (_FIND_OR_CLAIM, _GIVE_UP))
        self._seconds = 2 * seconds
        self._token = secrets.token_bytes(8)
        self.breaker = CircuitBreaker()

    async def find_or_claim(self, key: str) -> CacheEntry:
        """Return the value, or claim it. Without Redis nothing is found, and the caller loads it."""
        entry = await self._ask(lambda: self._find(keys=[key, _claim_of(key)], args=[self._token, _CLAIM_MS]))
        if entry is None:
            return MISSING
        value, milliseconds, claimed = entry
        return CacheEntry(value, milliseconds / 1000, bool(claimed))

    async def claim(self, key: str) -> bool:
        """Claim the early replacement of a value."""
        return bool(await self._ask(lambda: self._redis.set(_claim_of(key), self._token, nx=True, px=_CLAIM_MS)))

    async def store(self, key: str, value: bytes, seconds: float) -> None:
        """Keep a value, and delete the claim in the same round trip."""

        async def write() -> bool:
            async with self._redis.pipeline(transaction=False) as both:
                both.set(key, value, px=max(1, round(seconds * 1000)))
                both.delete(_claim_of(key))
                await both.execute()
            return True

        await self._ask(write)

    async def drop(self, keys: Sequence[str]) -> None:
        """Delete the values of keys."""

        async def delete() -> bool:
            async with self._redis.pipeline(transaction=False) as all_of_them:
                for key in keys:
                    all_of_them.delete(key)
                await all_of_them.execute()
            return True

        await self._ask(delete)

    async def give_up(self, key: str) -> None:
        """Delete the claim if it is this process's own."""
        await self._ask(lambda: self._give_up(keys=[_claim_of(key)], args=[self._token]))

    async def close(self) -> None:
        """Close all connections."""
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def _ask(self, command: Callable[[], Awaitable[T]]) -> T | None:
        """Return the result of a command; None after any error."""
        if not self.breaker.allows():
            return None
        try:
            async with asyncio.timeout(self._seconds):
                result = await command()
        except (RedisError, OSError, TimeoutError) as error:
            CACHE_REQUESTS.labels("error").inc()
            if isinstance(error, ResponseError):  # it answers, but is full, loading or read-only
                self.breaker.succeeded()
            else:
                was_open = self.breaker.is_open
                self.breaker.failed()
                if self.breaker.is_open and not was_open:
                    _log.warning("Redis does not answer: %s. Answers go on without it.", type(error).__name__)
            return None
        self.breaker.succeeded()
        return result


def _claim_of(key: str) -> str:
    return f"{key}:claim"


def cached_lists(url: str, users: Iterable[str]) -> int:
    """Return how many lists of these users a Redis holds. Raises TailorbirdError if it cannot be read."""
    digests = {cache_key("", None, None, "list", user).rpartition(":")[2].encode() for user in users}
    try:
        with redis.Redis.from_url(url, socket_timeout=_SCAN_SECONDS, socket_connect_timeout=_SCAN_SECONDS) as opened:
            return len([key for key in opened.scan_iter("tailorbird:1:*") if key.rpartition(b":")[2] in digests])
    except RedisError as error:
        raise TailorbirdError(f"Redis does not answer: {type(error).__name__}.") from None

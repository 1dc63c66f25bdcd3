"""Keeps many requests from asking a store: each value is loaded once, and a store that is away is not asked at all.

A cached value is renewed before it expires.

Early renewal is XFetch (Vattani, Chierichetti and Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", 2015):
the closer the end and the slower the load, the likelier a request renews the value while others still use it.
"""

import asyncio
import math
import random
import struct
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import suppress
from hashlib import blake2b
from itertools import chain
from time import monotonic
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from serving.http.metrics import CACHE_REQUESTS

if TYPE_CHECKING:
    from serving.stores.redis_store import CacheEntry, RedisStore

_LOAD_SECONDS: Final = struct.Struct("<f")
_POLL_SECONDS: Final = 0.01
REDIS_SECONDS: Final = 0.04
"""A request waits so long for Redis."""
PATIENCE_SECONDS: Final = 0.3
"""A request waits so long for the load of another process before it loads the value itself."""
_MOST: Final = 64
"""Keys per statement."""
_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class PostgresDownError(Exception):
    """Postgres did not answer in time, not at all, or with an error."""


class CircuitBreaker:
    """Opens after `failures` in a row; after `seconds` one caller at a time may try again."""

    def __init__(self, failures: int = 3, seconds: float = 1.0) -> None:
        self._failures, self._seconds = failures, seconds
        self._failed, self._retry_at = 0, 0.0

    @property
    def is_open(self) -> bool:
        """Return whether callers are refused, but for one that tries again."""
        return self._failed >= self._failures

    def allows(self) -> bool:
        """Return whether the caller may ask. It has to report the result."""
        if self._failed < self._failures:
            return True
        now = monotonic()
        if now < self._retry_at:
            return False
        self._retry_at = now + self._seconds  # others wait for the result of this one
        return True

    def succeeded(self) -> None:
        """Close the circuit."""
        self._failed = 0

    def failed(self) -> None:
        """Count a failure."""
        self._failed += 1
        self._retry_at = monotonic() + self._seconds


class Loaded(NamedTuple):
    """A value, and whether others may use it later."""

    value: bytes
    keep: bool = True


Load = Callable[[], Awaitable[Loaded]]


def cache_key(placement: str, batch_id: int | None, model_version: int | None, *request: str) -> str:
    """Return a key that names placement, batch and model, and holds the rest of the request only as a digest.

    The braces keep a value and its claim in one slot of a Redis cluster.
    """
    digest = blake2b(digest_size=16)
    for part in request:
        encoded = part.encode(errors="surrogatepass")
        digest.update(len(encoded).to_bytes(4, "big"))
        digest.update(encoded)
    return f"tailorbird:1:{placement}:{batch_id or 0}:{model_version or 0}:{{{digest.hexdigest()}}}"


class _LeaderLeftError(Exception):
    """The request that loaded a value was cancelled."""


class SharedLoads:
    """Values of one cache, fresh for `fresh_seconds` and usable for `stale_seconds` more while they are renewed."""

    def __init__(
        self,
        store: "RedisStore",
        fresh_seconds: float = 60.0,
        stale_seconds: float = 240.0,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """Keep values in `store`."""
        self._store, self._fresh, self._stale, self._patience = store, fresh_seconds, stale_seconds, patience_seconds
        self._loads: dict[str, asyncio.Future[bytes]] = {}
        self._renewals: dict[str, asyncio.Task[None]] = {}
        hit, stale, miss = (CACHE_REQUESTS.labels(result) for result in ("hit", "stale", "miss"))
        self._hit, self._old, self._miss = hit, stale, miss

    async def get(self, key: str, load: Load) -> bytes:
        """Return the value of a key; the error of `load` reaches all requests that wait for it."""
        while (flight := self._loads.get(key)) is not None:
            with suppress(_LeaderLeftError):
                return await asyncio.shield(flight)
        flight = self._loads[key] = asyncio.get_running_loop().create_future()
        try:
            value = await self._get(key, load)
        except BaseException as error:
            # A request that is cancelled leaves the load to one of those that wait.
            flight.set_exception(error if isinstance(error, Exception) else _LeaderLeftError())
            flight.exception()  # nobody may wait
            raise
        else:
            flight.set_result(value)
            return value
        finally:
            del self._loads[key]

    async def drop(self, keys: Sequence[str]) -> None:
        """Delete the values of keys, as far as the cache answers."""
        await self._store.drop(keys)

    async def _get(self, key: str, load: Load) -> bytes:
        entry = await self._store.find_or_claim(key)
        patience = monotonic() + self._patience
        while entry.value is None and not entry.claimed and monotonic() < patience:
            await asyncio.sleep(_POLL_SECONDS)  # another process loads it
            entry = await self._store.find_or_claim(key)
        if entry.value is None or len(entry.value) < _LOAD_SECONDS.size:
            self._miss.inc()
            return await self.replace(key, load)
        (self._hit if entry.seconds_left > self._stale else self._old).inc()
        if self._is_due(entry) and key not in self._renewals:
            task = self._renewals[key] = asyncio.create_task(self._renew(key, load))
            task.add_done_callback(lambda _: self._renewals.pop(key, None))
        return entry.value[_LOAD_SECONDS.size :]

    def _is_due(self, entry: "CacheEntry") -> bool:
        assert entry.value is not None
        (load_seconds,) = _LOAD_SECONDS.unpack_from(entry.value)
        early = -load_seconds * math.log(1.0 - random.random())  # noqa: S311 - no secret
        return bool(entry.seconds_left - self._stale <= early)

    async def _renew(self, key: str, load: Load) -> None:
        with suppress(Exception):  # the old value is used meanwhile, and the next request tries again
            if await self._store.claim(key):
                await self.replace(key, load)

    async def replace(self, key: str, load: Load) -> bytes:
        """Load the value and keep it, also if another one is kept, which is outdated."""
        started = monotonic()
        try:
            loaded = await load()
        except BaseException:
            await self._store.give_up(key)
            raise
        if loaded.keep:
            header = _LOAD_SECONDS.pack(monotonic() - started)
            await self._store.store(key, header + loaded.value, self._fresh + self._stale)
        else:
            await self._store.give_up(key)
        return loaded.value

    async def close(self) -> None:
        """Stop renewals, and close the cache."""
        for task in self._renewals.values():
            task.cancel()
        await self._store.close()


class SharedReads(Generic[_Key, _Value]):
    """Reads each key with at most one statement at a time, and uses few statements at all under load."""

    def __init__(self, read: Callable[[Sequence[_Key]], Awaitable[Sequence[_Value]]], connections: int) -> None:
        """`read` returns a value for each key; it uses at most half of the connections at a time."""
        self._read = read
        self._free = max(1, connections // 2)
        self._waiting: dict[_Key, list[asyncio.Future[_Value]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def get(self, key: _Key) -> _Value:
        """Return the value of a key. Raises the error of the statement."""
        future: asyncio.Future[_Value] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(future)
        if self._free:
            self._free -= 1
            task = asyncio.create_task(self._read_waiting())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def _read_waiting(self) -> None:
        """Read what waits, until nothing waits."""
        try:
            while self._waiting:
                keys = list(self._waiting)[:_MOST]
                futures = [self._waiting.pop(key) for key in keys]
                try:
                    values = await self._read(keys)
                except Exception as error:  # whatever it is: a request would wait for ever
                    for future in chain.from_iterable(futures):
                        if not future.done():
                            future.set_exception(error)
                    continue
                for waiting, value in zip(futures, values, strict=True):
                    for future in waiting:
                        if not future.done():  # its request may be gone
                            future.set_result(value)
        finally:
            self._free += 1

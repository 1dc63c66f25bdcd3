"""Caches of bytes by key, with claims on loading them: the interface, the keys, and the cache of this process."""

from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b
from time import monotonic
from typing import Final, Protocol

REDIS_SECONDS: Final = 0.04
"""A request waits so long for Redis."""
_MOST_BYTES: Final = 64 << 20
_OVERHEAD: Final = 300
"""Bytes that an entry takes beside its key and value."""


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


class CacheStore(Protocol):
    """A cache whose errors are misses."""

    async def find_or_claim(self, key: str) -> CacheEntry:
        """Return the value, or claim the loading of it, if no other process has."""

    async def claim(self, key: str) -> bool:
        """Claim the loading of a value that is to be replaced early; return False if another process has."""

    async def store(self, key: str, value: bytes, seconds: float) -> None:
        """Keep a value for so long, and give up the claim."""

    async def give_up(self, key: str) -> None:
        """Give up the claim: the value could not be loaded."""

    async def close(self) -> None:
        """Close connections."""


class MemoryStore(CacheStore):
    """Keeps the values that were used last, up to a number of bytes."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        """Start empty."""
        self._most, self._bytes = most_bytes, 0
        self._values: OrderedDict[str, tuple[bytes, float]] = OrderedDict()

    async def find_or_claim(self, key: str) -> CacheEntry:
        """Return the value. Every miss is claimed: `SharedLoads` loads once per process."""
        entry = self._values.get(key)
        if entry is None or entry[1] <= (now := monotonic()):
            return CacheEntry(None, claimed=True)
        self._values.move_to_end(key)
        return CacheEntry(entry[0], entry[1] - now)

    async def claim(self, key: str) -> bool:  # noqa: ARG002
        """Return True: there is no other process."""
        return True

    async def store(self, key: str, value: bytes, seconds: float) -> None:
        """Keep a value, and drop those that were not used for longest."""
        self._drop(key)
        self._values[key] = (value, monotonic() + seconds)
        self._bytes += _size(key, value)
        while self._bytes > self._most:
            self._drop(next(iter(self._values)))

    def _drop(self, key: str) -> None:
        if (dropped := self._values.pop(key, None)) is not None:
            self._bytes -= _size(key, dropped[0])

    async def give_up(self, key: str) -> None:
        """Do nothing: no claim is kept."""

    async def close(self) -> None:
        """Do nothing: there is no connection."""


def _size(key: str, value: bytes) -> int:
    return len(key) + len(value) + _OVERHEAD


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

"""A cache in this process, for servers without Redis."""

from collections import OrderedDict
from time import monotonic
from typing import Final

from serving.stores.cache.store import CacheEntry, CacheStore

_MOST_BYTES: Final = 64 << 20
_OVERHEAD: Final = 300
"""Bytes that an entry takes beside its key and value."""


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

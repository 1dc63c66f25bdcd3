"""The interface of caches: bytes by key, and claims on loading them."""

from dataclasses import dataclass
from typing import Final, Protocol

REDIS_SECONDS: Final = 0.04
"""A request waits so long for Redis."""


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

"""Computes how long to wait before another attempt, and waits."""

import asyncio
from dataclasses import dataclass
from typing import Final

_FIRST: Final = 0.2
_LONGEST: Final = 10.0


@dataclass
class Pauses:
    """Pauses that double with each failure, up to ten seconds."""

    failures: int = 0

    def next(self) -> float:
        """Return the seconds until the next attempt."""
        self.failures += 1
        return min(_FIRST * 2.0 ** min(self.failures - 1, 10), _LONGEST)

    def reset(self) -> None:
        """Start again with short pauses, after a success."""
        self.failures = 0


async def wait(ended: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until `ended`."""
    try:
        async with asyncio.timeout(seconds):
            await ended.wait()
    except TimeoutError:
        return

"""Defines what a consumer receives from a broker, and the letters of what it could not store."""

import asyncio
import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from serving.collector.bodies import MOST_BYTES
from serving.events.clock import CLOCK

Reason = Literal["malformed", "too_large", "id_conflict", "poison", "broker"]
"""Why a message is a dead letter: it is no call, it is too large to be kept, its id came before with another content,
it failed each time, or the broker gave it up."""
HEAD_BYTES: Final = 4096
"""The part that is kept of a message that is too large."""
MOST_ATTEMPTS: Final = 5
"""The attempts to store a message that fails for a reason of its own. An outage counts as none."""
_FIRST: Final = 0.2
_LONGEST: Final = 10.0


@dataclass(frozen=True)
class Delivery:
    """A message as a broker delivers it."""

    body: bytes
    received_at: datetime
    message_id: str | None = None
    """The broker's own id, which counts if the call states none."""
    encoding: str = ""
    attempts: int = 0
    """How often it has failed."""
    cut: str = ""
    """If `body` is only the head of a message that is too large: a sentence with the size and the hash of the whole."""


@dataclass(frozen=True)
class DeadLetter:
    """A message that is kept for a person to look at."""

    delivery: Delivery
    reason: Reason
    detail: str
    """What is wrong, in a sentence without values of the message."""


def received(body: bytes, message_id: str | None, encoding: str) -> Delivery:
    """Return a delivery that came now, of which nothing stays in memory but the head if it is too large."""
    cut = ""
    if len(body) > MOST_BYTES:
        cut = (
            f"It has {len(body):,} bytes, and {MOST_BYTES:,} are allowed. Only the first {HEAD_BYTES:,} are kept: it "
            f"cannot be replayed. The SHA-256 of the whole is {hashlib.sha256(body).hexdigest()}."
        )
    return Delivery(body[:HEAD_BYTES] if cut else body, CLOCK.now(), message_id, encoding, cut=cut)


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

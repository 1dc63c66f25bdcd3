"""Defines what a consumer receives from a broker, and the letters of what it could not store."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

Reason = Literal["malformed", "id_conflict", "poison", "broker"]
"""Why a message is a dead letter: it is no call, its id came before with another content, it failed each time, or the
broker gave it up."""
MOST_ATTEMPTS: Final = 5
"""The attempts to store a message that fails for a reason of its own. An outage counts as none."""


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


@dataclass(frozen=True)
class DeadLetter:
    """A message that is kept for a person to look at."""

    delivery: Delivery
    reason: Reason
    detail: str
    """What is wrong, in a sentence without values of the message."""

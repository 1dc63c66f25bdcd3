"""Defines what a consumer needs of the binding of a broker, and what it publishes: a user's list changed."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import urlsplit

from infra.configuration import addresses
from models.errors import TailorbirdError

EVENT: Final = "recommendation.updated"
EXCHANGE: Final = "tailorbird.recommendations"
"""Where brokers deliver them: an exchange of RabbitMQ, or a topic of Kafka."""


@dataclass(frozen=True)
class Update:
    """One list of a user, whole: a later one replaces it."""

    user_id: str
    """The caller's own id of a user who consents; the messages of one user belong together in their order."""
    placement: str
    body: bytes
    """JSON."""


QUEUE: Final = "tailorbird.events"


class BrokerDownError(TailorbirdError):
    """The broker cannot be reached."""


class Stream(Protocol):
    """A consumer of one queue or topic, which also publishes."""

    def running(self) -> AbstractAsyncContextManager[None]:
        """Consume meanwhile. Raises BrokerDownError, and TailorbirdError if the broker refuses."""

    async def lag(self) -> int:
        """Return the number of messages that wait in the broker. Raises BrokerDownError."""

    async def publish(self, updates: Sequence[Update]) -> None:
        """Return when the broker has confirmed all. Raises BrokerDownError."""


def is_kafka(url: str) -> bool:
    """Tell a Kafka from a RabbitMQ."""
    return urlsplit(url).scheme in addresses.KAFKA


def queue_of(url: str, given: str | None) -> str:
    """Return the name of the queue or topic: as given, else as the address of a Kafka has it, else the usual one.

    Raises AddressRefusedError.
    """
    addresses.broker(url, "The address of the broker")
    return given or (is_kafka(url) and urlsplit(url).path.strip("/")) or QUEUE

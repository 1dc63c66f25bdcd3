"""Defines what a consumer needs of the binding of a broker."""

from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol
from urllib.parse import urlsplit

from infra.configuration import addresses
from models.errors import TailorbirdError
from serving.stream.rescoring.updates import Publisher

QUEUE: Final = "tailorbird.events"


class BrokerRefusedError(TailorbirdError):
    """The broker refuses the login or the queue."""


class BrokerDownError(TailorbirdError):
    """The broker cannot be reached."""


class Stream(Publisher, Protocol):
    """A consumer of one queue or topic, which also publishes."""

    def running(self) -> AbstractAsyncContextManager[None]:
        """Consume meanwhile. Raises BrokerDownError and BrokerRefusedError."""

    async def lag(self) -> int:
        """Return the number of messages that wait in the broker. Raises BrokerDownError."""


def is_kafka(url: str) -> bool:
    """Tell a Kafka from a RabbitMQ."""
    return urlsplit(url).scheme in addresses.KAFKA


def queue_of(url: str, given: str | None) -> str:
    """Return the name of the queue or topic: as given, else as the address of a Kafka has it, else the usual one.

    Raises AddressRefusedError.
    """
    addresses.broker(url, "The address of the broker")
    return given or (is_kafka(url) and urlsplit(url).path.strip("/")) or QUEUE

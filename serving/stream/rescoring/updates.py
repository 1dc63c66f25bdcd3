"""Defines the messages that a consumer publishes: a user's list changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

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


class Publisher(Protocol):
    """The broker that a consumer is connected with."""

    async def publish(self, updates: Sequence[Update]) -> None:
        """Return when the broker has confirmed all. Raises BrokerDownError."""

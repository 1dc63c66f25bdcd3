"""Stores calls: an answer waits until they are durable."""

from dataclasses import dataclass
from typing import Protocol

from serving.collector.bodies import SentCalls
from serving.collector.collector import Collector
from serving.events.clock import CLOCK
from serving.events.message import Message, Receipt


class Writes(Protocol):
    """Stores messages durably."""

    async def write(self, *messages: Message) -> list[Receipt]:
        """Return when all messages are durable."""


@dataclass(frozen=True)
class CallIntake:
    """Takes calls of Segment's libraries."""

    collector: Collector
    writer: Writes

    async def take(self, sent: SentCalls, source: str) -> None:
        """Return when all calls are durable. Raises SpoolFullError and RefusedMessageError as `EventWriter.write`."""
        messages = self.collector.messages(sent, source, CLOCK.now())
        if messages:
            await self.writer.write(*messages)

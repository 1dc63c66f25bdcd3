"""Stores calls: an answer waits until they are durable."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from infra.keys.api_keys import KeyKind
from serving.collector.bodies import SentCalls
from serving.events.clock import CLOCK
from serving.events.message import Message, Receipt

if TYPE_CHECKING:
    from serving.collector.collector import Collector


class Writes(Protocol):
    """Stores messages durably."""

    async def write(self, *messages: Message) -> list[Receipt]:
        """Return when all messages are durable."""


class CallIntake:
    """Takes calls of Segment's libraries."""

    def __init__(self, open_collector: "Callable[[], Collector]", writer: Writes) -> None:
        """Open the collector with the first call: it needs Arrow, and many servers never collect."""
        self._open, self._writer = open_collector, writer
        self._collector: Collector | None = None

    async def take(self, sent: SentCalls, source: str, kind: KeyKind) -> None:
        """Return when all calls are durable. Raises SpoolFullError and RefusedMessageError as `EventWriter.write`."""
        if self._collector is None:
            self._collector = await asyncio.to_thread(self._open)
        messages = self._collector.messages(sent, source, CLOCK.now(), kind)
        if messages:
            await self._writer.write(*messages)

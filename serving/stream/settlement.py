"""Settles deliveries: one transaction stores their messages, what counts at once, and dead letters."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import asyncpg

from serving.collector.bodies import UnusableBodyError
from serving.collector.call_message import CallMessage
from serving.events.clock import CLOCK
from serving.events.message import Receipt, RefusedMessageError
from serving.events.store import INVALID, store
from serving.stream.dead_letters import keep
from serving.stream.delivery import MOST_ATTEMPTS, DeadLetter, Delivery
from serving.stream.message_reader import MessageReader

if TYPE_CHECKING:
    from serving.stream.rescoring.rescoring import Rescoring

_LOG: Final = logging.getLogger(__name__)
PATIENCE: Final = 30.0
"""Seconds for one transaction."""
_GROUP_BYTES: Final = 4 * 1024 * 1024
"""The bytes of the messages of one transaction, of which the last message may be beyond it."""
_CONFLICT: Final = "The same id came before with another content."
_Also = Callable[[asyncpg.Connection], Awaitable[None]]


@dataclass(frozen=True)
class _Part:
    """What one delivery adds to a transaction."""

    delivery: Delivery
    messages: Sequence[CallMessage] = ()
    letter: DeadLetter | None = None

    @property
    def size(self) -> int:
        """Return its bytes in memory."""
        return len(self.delivery.body) + sum(len(one.body) for one in self.messages)


@dataclass
class Settlement:
    """Settles the deliveries of one source."""

    pool: asyncpg.Pool
    reader: MessageReader
    counts: Counter[str] = field(default_factory=Counter)
    """Messages by receipt, and dead letters by reason, since the start."""
    rescoring: "Rescoring | None" = None
    """Scores live lists again after messages, if there are any."""

    async def settle(self, deliveries: Sequence[Delivery], also: _Also | None = None) -> list[Delivery]:
        """Settle deliveries; returns those that failed for a reason of their own, to be settled again later.

        `also` runs in the last transaction, unless a delivery failed. Raises the error of an outage: then nothing of
        that transaction counts, and those before it are known when they come again.
        """
        failed: list[Delivery] = []
        for parts, is_last in self._groups(deliveries, failed):
            failed += await self._store(parts, also if is_last and not failed else None)
        return failed

    async def give_up(self, letters: Sequence[DeadLetter]) -> None:
        """Keep letters of messages that the broker gave up."""
        await self._store([_Part(one.delivery, letter=one) for one in letters], None)

    def _groups(self, deliveries: Sequence[Delivery], failed: list[Delivery]) -> Iterator[tuple[list[_Part], bool]]:
        """Read deliveries; yield the parts of each transaction, and whether it is the last one."""
        parts: list[_Part] = []
        size = 0
        for left, one in zip(range(len(deliveries) - 1, -1, -1), deliveries, strict=True):
            part = self._read(one, failed)
            if part is not None:
                parts.append(part)
                size += part.size
            if not left or size > _GROUP_BYTES:
                yield parts, not left
                parts, size = [], 0

    def _read(self, delivery: Delivery, failed: list[Delivery]) -> _Part | None:
        """Return the part of a delivery; None if it failed and is to be read again."""
        if delivery.cut:
            return _Part(delivery, letter=DeadLetter(delivery, "too_large", delivery.cut))
        try:
            return _Part(delivery, self.reader.read(delivery))
        except (UnusableBodyError, RefusedMessageError) as error:
            return _Part(delivery, letter=DeadLetter(delivery, "malformed", str(error)))
        except Exception as error:  # a defect: the other deliveries go on
            again = replace(delivery, attempts=delivery.attempts + 1)
            if again.attempts >= MOST_ATTEMPTS:
                return _poison(again, error)
            failed.append(again)
            return None

    async def _store(self, parts: Sequence[_Part], also: _Also | None) -> list[Delivery]:
        """Store parts together; if PostgreSQL refuses one of them or needs too long, in halves.

        A part that is refused alone fails. Raises the error of an outage, as which a part counts that needs too long.
        """
        timer = asyncio.timeout(PATIENCE)
        try:
            async with timer:
                await self._commit(parts, also)
        except (*INVALID, TimeoutError) as error:
            is_refused = isinstance(error, INVALID)
            if not is_refused and not timer.expired():
                raise  # no connection
            if len(parts) > 1:
                if not is_refused:
                    _LOG.warning("%d messages took more than %.0f s: they are stored in halves.", len(parts), PATIENCE)
                half = len(parts) // 2
                first = await self._store(parts[:half], None)
                return first + await self._store(parts[half:], None if first else also)
            if not is_refused or not parts or parts[0].letter is not None:
                raise
            again = replace(parts[0].delivery, attempts=parts[0].delivery.attempts + 1)
            if again.attempts < MOST_ATTEMPTS:
                return [again]
            return await self._store([_poison(again, error)], also)
        return []

    async def _commit(self, parts: Sequence[_Part], also: _Also | None) -> None:
        await CLOCK.compare(self.pool)
        messages = [(message, part) for part in parts for message in part.messages]
        letters = [part.letter for part in parts if part.letter]
        async with self.pool.acquire() as connection, connection.transaction():
            receipts = await store(connection, [message for message, _ in messages]) if messages else []
            if self.rescoring is not None:
                new = (message for (message, _), receipt in zip(messages, receipts, strict=True) if receipt == "stored")
                await self.rescoring.ask(connection, [*new])
            settled = zip(messages, receipts, strict=True)
            letters += _conflicts(part for (_, part), receipt in settled if receipt == "conflict")
            await keep(connection, self.reader.source, letters)
            if also is not None:
                await also(connection)
        if self.rescoring is not None:
            self.rescoring.wake()
        self._count(receipts, letters)

    def _count(self, receipts: Sequence[Receipt], letters: Sequence[DeadLetter]) -> None:
        self.counts.update(one for one in receipts if one != "conflict")
        self.counts.update(one.reason for one in letters)


def _conflicts(parts: Iterable[_Part]) -> list[DeadLetter]:
    """Return one letter for each delivery with a conflict."""
    found = {id(part): part.delivery for part in parts}
    return [DeadLetter(delivery, "id_conflict", _CONFLICT) for delivery in found.values()]


def _poison(delivery: Delivery, error: Exception) -> _Part:
    detail = f"It failed {delivery.attempts} times; the last error was {type(error).__name__}."
    return _Part(delivery, letter=DeadLetter(delivery, "poison", detail))

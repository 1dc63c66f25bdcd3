"""Settles deliveries: one transaction stores their messages, what counts at once, and dead letters."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
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

_CONFLICT: Final = "The same id came before with another content."
_Also = Callable[[asyncpg.Connection], Awaitable[None]]


@dataclass(frozen=True)
class _Part:
    """What one delivery adds to a transaction."""

    delivery: Delivery
    messages: Sequence[CallMessage] = ()
    letter: DeadLetter | None = None


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
        that transaction counts.
        """
        await CLOCK.compare(self.pool)
        failed: list[Delivery] = []
        parts = [part for one in deliveries if (part := self._read(one, failed)) is not None]
        async with self.pool.acquire() as connection:
            return failed + await self._store(connection, parts, None if failed else also)

    async def give_up(self, letters: Sequence[DeadLetter]) -> None:
        """Keep letters of messages that the broker gave up."""
        async with self.pool.acquire() as connection:
            await self._store(connection, [_Part(one.delivery, letter=one) for one in letters], None)

    def _read(self, delivery: Delivery, failed: list[Delivery]) -> _Part | None:
        """Return the part of a delivery; None if it failed and is to be read again."""
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

    async def _store(
        self, connection: asyncpg.Connection, parts: Sequence[_Part], also: _Also | None
    ) -> list[Delivery]:
        """Store parts together; if PostgreSQL refuses one of them, in halves until that one is alone."""
        try:
            await self._commit(connection, parts, also)
        except INVALID as error:
            if len(parts) > 1:
                half = len(parts) // 2
                first = await self._store(connection, parts[:half], None)
                return first + await self._store(connection, parts[half:], None if first else also)
            if not parts or parts[0].letter is not None:
                raise
            again = replace(parts[0].delivery, attempts=parts[0].delivery.attempts + 1)
            if again.attempts < MOST_ATTEMPTS:
                return [again]
            await self._commit(connection, [_poison(again, error)], also)
        return []

    async def _commit(self, connection: asyncpg.Connection, parts: Sequence[_Part], also: _Also | None) -> None:
        async with connection.transaction():
            messages = [(message, part) for part in parts for message in part.messages]
            receipts = await store(connection, [message for message, _ in messages]) if messages else []
            if self.rescoring is not None:
                new = (message for (message, _), receipt in zip(messages, receipts, strict=True) if receipt == "stored")
                await self.rescoring.ask(connection, [*new])
            letters = [part.letter for part in parts if part.letter]
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

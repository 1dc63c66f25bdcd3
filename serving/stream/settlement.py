"""Settles deliveries: one transaction stores their messages, what counts at once, and dead letters.

Deliveries that arrive one by one are settled in groups: while one group commits, the next one gathers.
"""

import asyncio
import hashlib
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import asyncpg

from serving.collector.bodies import CallMessage, UnusableBodyError
from serving.events.clock import CLOCK
from serving.events.message import Receipt, RefusedMessageError
from serving.events.store import INVALID, store
from serving.stream.delivery import MOST_ATTEMPTS, DeadLetter, Delivery, MessageReader, Pauses

if TYPE_CHECKING:
    from serving.stream.rescoring import Rescoring


_KEEP: Final = """
    INSERT INTO identity.dead_letters AS letter (source, reason, detail, message_id, encoding, body, digest)
    SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::bytea[])
    ON CONFLICT (source, reason, digest) DO UPDATE
    SET times = letter.times + 1, last_at = now(), replayed_at = NULL"""
_LONGEST: Final = 255
_LOG: Final = logging.getLogger(__name__)
PATIENCE: Final = 30.0
"""Seconds for one transaction."""
_GROUP_BYTES: Final = 4 * 1024 * 1024
"""The bytes of the messages of one transaction, of which the last message may be beyond it."""
_CONFLICT: Final = "The same id came before with another content."
_Also = Callable[[asyncpg.Connection], Awaitable[None]]


async def keep_letters(connection: asyncpg.Connection, source: str, letters: Sequence[DeadLetter]) -> None:
    """Store letters; one that was kept before is counted again."""
    known = {(one.reason, digest_of(one.delivery)): one for one in letters}
    if known:
        rows = [
            (one.reason, one.detail, _text(one.delivery.message_id), _text(one.delivery.encoding), one.delivery.body)
            for one in known.values()
        ]
        columns = [*map(list, zip(*rows, strict=True)), [digest for _, digest in known]]
        await connection.execute(_KEEP, source, *columns)


def digest_of(delivery: Delivery) -> bytes:
    """Return the hash that recognises a delivery that comes again."""
    content = delivery.cut.encode() or delivery.body
    return hashlib.sha256((delivery.message_id or "").encode(errors="replace") + b"\0" + content).digest()


def _text(value: str | None) -> str | None:
    """Return a text of the broker as PostgreSQL can store it."""
    if value is None:
        return None
    return value.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")[:_LONGEST]


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
            await keep_letters(connection, self.reader.source, letters)
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


GROUP: Final = 50
"""The most messages in work, which bounds their memory. The broker gives no more at once."""
_GATHER: Final = 0.02
"""Seconds in which a group gathers: a transaction costs nearly the same for one message as for many."""
_LOOKS: Final = 10


@dataclass
class _Waiting:
    delivery: Delivery
    done: "asyncio.Future[None]"


@dataclass
class SettlementQueue:
    """Holds deliveries until they are durable. The broker's prefetch bounds their number."""

    settlement: Settlement
    _waiting: "deque[_Waiting]" = field(default_factory=deque)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _later: "set[asyncio.TimerHandle]" = field(default_factory=set)

    async def settle(self, delivery: Delivery) -> None:
        """Return when the delivery is durable: stored, known before, or a dead letter."""
        one = _Waiting(delivery, asyncio.get_running_loop().create_future())
        self._add(one)
        await one.done

    async def keep(self, letter: DeadLetter) -> None:
        """Return when a letter of the broker is durable."""
        pauses = Pauses()
        while True:
            try:
                return await self.settlement.give_up([letter])
            except Exception as error:  # as below
                _LOG.warning("A dead letter waits for the database, which failed with %s.", type(error).__name__)
                await asyncio.sleep(pauses.next())

    async def run(self) -> None:
        """Settle groups until cancelled. During an outage the same group is tried again after growing pauses."""
        pauses = Pauses()
        while True:
            while not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            for _ in range(_LOOKS):
                if len(self._waiting) < GROUP:
                    await asyncio.sleep(_GATHER / _LOOKS)
            group = [self._waiting.popleft() for _ in range(min(GROUP, len(self._waiting)))]
            while not await self._is_settled(group, pauses):
                await asyncio.sleep(pauses.next())
            pauses.reset()

    async def _is_settled(self, group: Sequence[_Waiting], pauses: Pauses) -> bool:
        """Settle a group; returns False during an outage."""
        try:
            failed = await self.settlement.settle([one.delivery for one in group])
        except Exception as error:  # asyncpg has no class for all outages
            if not pauses.failures:
                _LOG.warning("The database failed with %s: messages wait in the broker.", type(error).__name__)
            return False
        self._finish(group, failed)
        return True

    def _finish(self, group: Sequence[_Waiting], failed: Sequence[Delivery]) -> None:
        again = {id(one.body): one for one in failed}  # the same object, of which there are no two
        for one in group:
            retried = again.get(id(one.delivery.body))
            if retried is not None:
                self._add_later(_Waiting(retried, one.done))
            elif not one.done.done():
                one.done.set_result(None)

    def _add_later(self, one: _Waiting) -> None:
        """Add a delivery that failed again after a pause, while others go on."""
        seconds = Pauses(one.delivery.attempts - 1).next()
        loop = asyncio.get_running_loop()

        def add() -> None:
            self._later.discard(handle)
            self._add(one)

        handle = loop.call_later(seconds, add)
        self._later.add(handle)

    def _add(self, one: _Waiting) -> None:
        self._waiting.append(one)
        self._wake.set()

"""Writes messages: an answer waits until its message is durable in Postgres, or on disk if there is a spool."""

import asyncio
import contextlib
import logging
from collections import Counter, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

import asyncpg

from serving.events.clock import CLOCK
from serving.events.message import Message, Receipt, RefusedMessageError, size_of
from serving.events.spool import Spool, SpoolFullError, parsed
from serving.events.store import ANY_IS_NEW, GROUP, INVALID, store

_LOG: Final = logging.getLogger(__name__)
_MOST_WAITING: Final = 20_000
_MOST_LETTERS: Final = 4_000_000
"""About the most letters of one transaction: a larger one takes too long, and would look like an outage."""
_PATIENCE: Final = 2.0
"""Seconds for one transaction; after that Postgres counts as down."""
_PAUSE: Final = 0.5
"""Seconds between two attempts to reach Postgres again."""
_MEANWHILE: Final = (
    "calls are refused until it is back, and their senders repeat them",
    "messages go to the spool on disk until it is back",
)
"""What happens until then without a spool, and with one."""
_BYTES: Final = 2**18
"""About the size of the lines of one transaction."""


@dataclass
class EventCounts:
    """The messages of this process since its start."""

    messages: Counter[str] = field(default_factory=Counter)
    """By outcome: stored, spooled, duplicate, conflict, refused, dropped."""
    impressions: Counter[str] = field(default_factory=Counter)
    """Answers whose impressions were stored, spooled, sampled_out or dropped."""
    replayed: int = 0
    """Messages that this process moved from the spool to Postgres."""


@dataclass
class _Waiting:
    messages: Sequence[Message]
    done: "asyncio.Future[list[Receipt]]"


@dataclass
class EventWriter:
    """Stores messages in groups. While Postgres is down they go to the spool, and return in order afterwards.

    Without a spool they are refused meanwhile, for callers that send them again.
    """

    pool: asyncpg.Pool
    spool: Spool | None = None
    counts: EventCounts = field(default_factory=EventCounts)
    _waiting: "deque[_Waiting]" = field(default_factory=deque)
    _number_waiting: int = 0
    """Messages in `_waiting`."""
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: "list[asyncio.Task[None]]" = field(default_factory=list)
    available: bool = True
    """Whether Postgres took the latest messages."""
    _closed: bool = False

    async def start(self) -> None:
        """Start to store messages, and to replay what an earlier process left in the spool."""
        self._tasks = [asyncio.create_task(self._store_groups()), asyncio.create_task(self._watch())]

    async def close(self) -> None:
        """Make all waiting messages durable, then stop."""
        self._closed = True
        self._wake.set()
        if self._tasks:
            await self._tasks[0]
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def write(self, *messages: Message) -> list[Receipt]:
        """Return when all messages are durable, with the receipt of each.

        Raises RefusedMessageError for a value that cannot be stored, and SpoolFullError if they could not be made
        durable: the caller has to send them again.
        """
        for one in messages:
            _ = one.body, one.digest  # encoded here, so that an unusable text concerns this caller alone
        if self._closed or self._number_waiting + len(messages) > _MOST_WAITING:
            self.counts.messages["dropped"] += len(messages)
            raise SpoolFullError("Too many messages wait to be stored. Send the message again later.")
        group = _Waiting(messages, asyncio.get_running_loop().create_future())
        self._waiting.append(group)
        self._number_waiting += len(messages)
        self._wake.set()
        return await group.done

    async def any_is_new(self, visitors: Collection[str | None]) -> bool:
        """Return whether any of the visitors was first seen today. Raises SpoolFullError while the database is away."""
        try:
            async with asyncio.timeout(_PATIENCE):
                return bool(await self.pool.fetchval(ANY_IS_NEW, list(visitors)))
        except Exception as error:  # an outage; asyncpg has no class for all of them
            raise SpoolFullError("The database does not answer. Send the message again later.") from error

    async def persist(self, messages: Sequence[Message], counter: Counter[str]) -> Sequence[Receipt]:
        """Store messages in Postgres, or in the spool while it is down; count them. Raises as `write` does."""
        try:
            receipts = await self._durable(messages)
        except SpoolFullError:
            counter["dropped"] += size_of(messages)
            raise
        except INVALID as error:
            counter["refused"] += size_of(messages)
            if isinstance(error, RefusedMessageError):
                raise
            raise RefusedMessageError("A value of the message cannot be stored.") from error
        for message, receipt in zip(messages, receipts, strict=True):
            counter[receipt] += message.size
        return receipts

    async def _durable(self, messages: Sequence[Message]) -> Sequence[Receipt]:
        if self.available:
            try:
                return await asyncio.wait_for(self._stored(messages), _PATIENCE)
            except INVALID:
                raise
            except Exception as error:  # an outage; asyncpg has no class for all of them
                self._report(error)
                self.available = False
        if self.spool is None:
            raise SpoolFullError("The database is down. Send it again later.")
        await asyncio.to_thread(self.spool.append, messages)
        return ["spooled"] * len(messages)

    async def _stored(self, messages: Sequence[Message]) -> Sequence[Receipt]:
        async with self.pool.acquire() as connection:
            try:
                return await store(connection, messages)
            except asyncpg.DeadlockDetectedError:
                return await store(connection, messages)

    async def _store_groups(self) -> None:
        """Store waiting messages in groups until the writer is closed."""
        while self._waiting or not self._closed:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            groups, taken, letters = list[_Waiting](), 0, 0
            while self._waiting and taken < GROUP and letters < _MOST_LETTERS:
                groups.append(self._waiting.popleft())
                taken += len(groups[-1].messages)
                letters += sum(len(one.body) for one in groups[-1].messages)
            self._number_waiting -= taken
            await self._settle(groups)

    async def _settle(self, groups: Sequence[_Waiting]) -> None:
        """Store groups together; if one message is unusable, each group on its own."""
        try:
            receipts = iter(await self.persist([one for group in groups for one in group.messages], Counter()))
        except Exception as error:
            if isinstance(error, RefusedMessageError) and len(groups) > 1:
                for group in groups:
                    await self._settle([group])
            else:
                self._fail(groups, error)
            return
        for group in groups:
            own = [next(receipts) for _ in group.messages]
            self.counts.messages.update(own)
            _finish(group, own)

    def _fail(self, groups: Sequence[_Waiting], error: Exception) -> None:
        outcome = "dropped" if isinstance(error, SpoolFullError) else "refused"
        for group in groups:
            self.counts.messages[outcome] += len(group.messages)
            _finish(group, error)

    def _report(self, error: Exception) -> None:
        if self.available:
            _LOG.warning("The database failed with %s: %s.", type(error).__name__, _MEANWHILE[self.spool is not None])

    async def _watch(self) -> None:
        """Find out when Postgres is back, and replay the spool."""
        while True:
            try:
                if not self.available or (self.spool and not self.spool.is_empty()):
                    await self._recover()
                async with asyncio.timeout(_PATIENCE):
                    await CLOCK.compare(self.pool)
            except Exception as error:
                self._report(error)
                self.available = False
            await asyncio.sleep(_PAUSE)

    async def _recover(self) -> None:
        async with asyncio.timeout(_PATIENCE):
            await self.pool.fetchval("SELECT 1")
        # Messages that arrive meanwhile join the spool, so that their order stays.
        while self.spool and (count := await replay(self.pool, self.spool)):
            self.counts.replayed += count
        self.available = True


def _finish(group: _Waiting, result: "list[Receipt] | Exception") -> None:
    if group.done.done():  # the caller has gone
        return
    if isinstance(result, Exception):
        group.done.set_exception(result)
    else:
        group.done.set_result(result)


async def replay(pool: asyncpg.Pool, spool: Spool) -> int:
    """Store the messages of the spool, and delete each file after its last message; returns the number of new ones.

    A process that stops in between leaves the file, and the next one replays it: the inbox knows the ids that it has.
    """
    stored = 0
    with spool.replaying() as segments:
        for path in segments:
            with path.open("rb") as file:
                while lines := await asyncio.to_thread(file.readlines, _BYTES):
                    stored += await _store_lines(pool, spool, lines)
            path.unlink()
    return stored


async def _store_lines(pool: asyncpg.Pool, spool: Spool, lines: Sequence[bytes]) -> int:
    messages = {line: parsed(line) for line in lines if line.endswith(b"\n")}
    sound = [message for message in messages.values() if message is not None]
    damaged = [line for line, message in messages.items() if message is None]
    stored, refused = await _stored(pool, sound)
    unusable = {id(message) for message in refused}
    damaged += [line for line, message in messages.items() if id(message) in unusable]
    if damaged:
        await asyncio.to_thread(spool.refuse, damaged)
    return stored


async def _stored(pool: asyncpg.Pool, messages: Sequence[Message]) -> tuple[int, list[Message]]:
    """Store messages; returns the number of new ones, and those that Postgres refuses."""
    if not messages:
        return 0, []
    try:
        async with pool.acquire() as connection:
            return (await store(connection, messages)).count("stored"), []
    except INVALID:
        if len(messages) == 1:
            return 0, [*messages]
    half = len(messages) // 2
    parts = [await _stored(pool, part) for part in (messages[:half], messages[half:])]
    return sum(count for count, _ in parts), [one for _, refused in parts for one in refused]

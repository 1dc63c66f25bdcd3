"""Settles deliveries that arrive one by one in groups: while one group commits, the next one gathers."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from serving.events.store import GROUP
from serving.stream.delivery import DeadLetter, Delivery
from serving.stream.pauses import Pauses
from serving.stream.settlement import Settlement

_LOG: Final = logging.getLogger(__name__)
PATIENCE: Final = 30.0
"""Seconds for one group; after that PostgreSQL counts as down."""
_GATHER: Final = 0.02
"""Seconds in which a group gathers: a transaction costs nearly the same for one message as for many."""


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
                async with asyncio.timeout(PATIENCE):
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
            if len(self._waiting) < GROUP:
                await asyncio.sleep(_GATHER)
            group = [self._waiting.popleft() for _ in range(min(GROUP, len(self._waiting)))]
            while not await self._is_settled(group, pauses):
                await asyncio.sleep(pauses.next())
            pauses.reset()

    async def _is_settled(self, group: Sequence[_Waiting], pauses: Pauses) -> bool:
        """Settle a group; returns False during an outage."""
        try:
            async with asyncio.timeout(PATIENCE):
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

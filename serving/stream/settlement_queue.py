"""Settles deliveries that arrive one by one in groups: while one group commits, the next one gathers."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from serving.stream.delivery import DeadLetter, Delivery, Pauses
from serving.stream.settlement import Settlement

_LOG: Final = logging.getLogger(__name__)
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

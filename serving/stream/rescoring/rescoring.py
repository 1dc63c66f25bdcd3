"""Scores lists again while a broker is connected: takes users who wait, stores their lists, and publishes them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

import asyncpg
import orjson

from serving.answers.interfaces import LiveUnavailableError
from serving.events.clock import CLOCK
from serving.events.message import Message
from serving.http.metrics import RESCORED
from serving.stores.outages import PostgresDownError
from serving.stream.delivery import Pauses, wait
from serving.stream.rescoring import requests
from serving.stream.rescoring.list_scorer import ListScorer, LiveList
from serving.stream.rescoring.requests import PAUSE, Request
from serving.stream.rescoring.updates import EVENT, Publisher, Update

_KEEP: Final = "SELECT placement, user_key, user_id FROM keep_live_lists($1::jsonb)"
_LOG: Final = logging.getLogger(__name__)
_GROUP: Final = 16
"""Users of one round."""
_PATIENCE: Final = 10.0
"""Seconds for one round: less than others wait before they take its users."""
_POLL: Final = 1.0
"""Seconds until the requests of other consumers, which may have been killed, are looked for."""
_MOST_ATTEMPTS: Final = 5
_OUTAGE: Final = (LiveUnavailableError, PostgresDownError)


async def keep(pool: asyncpg.Pool, lists: Sequence[LiveList]) -> list[Update]:
    """Store lists, unless stored ones follow a newer event; returns a message for each that was stored.

    There is none for a user who no longer consents, or whose own id is not known.
    """
    if not lists:
        return []
    rows = await pool.fetch(_KEEP, orjson.dumps([_stored(one) for one in lists]).decode())
    ids = {(row["placement"], row["user_key"]): row["user_id"] for row in rows}
    names = ((one, ids.get((one.answer.placement, one.request.user_key))) for one in lists if one.counts)
    return [_update(one, user_id) for one, user_id in names if user_id is not None]


def _stored(one: LiveList) -> dict[str, object]:
    items = one.answer.items
    return {
        "placement": one.answer.placement,
        "user_key": one.request.user_key,
        "batch_id": one.batch_id,
        "model_version": one.answer.model_version,
        "rules_version": one.rules_version,
        "items": [item.item_id for item in items],
        "scores": [item.score for item in items],
        "reasons": [item.reason for item in items],
        "occurred_at": one.request.occurred_at,
        "expires_at": one.expires_at,
    }


def _update(one: LiveList, user_id: str) -> Update:
    stated = {
        "event": EVENT,
        "user_id": user_id,
        "placement": one.answer.placement,
        "model_version": one.answer.model_version,
        "occurred_at": one.request.occurred_at,
        "scored_at": CLOCK.now(),
        "items": orjson.Fragment(one.answer.items_json),
    }
    return Update(user_id, one.answer.placement, orjson.dumps(stated))


@dataclass
class Rescoring:
    """Scores the live lists of users. Its failures concern no event: these are stored before."""

    pool: asyncpg.Pool
    scorer: ListScorer
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, connection: asyncpg.Connection, messages: Sequence[Message]) -> None:
        """Ask for new lists of the users of messages, in the transaction that stores these."""
        try:
            async with connection.transaction():
                await requests.ask(connection, messages)
        except asyncpg.PostgresError as error:
            if not connection.is_closed():
                _LOG.warning("Lists are not scored again after some events: %s.", type(error).__name__)

    def wake(self) -> None:
        """Look for requests as soon as they are due: a transaction with some was committed."""
        asyncio.get_running_loop().call_later(PAUSE.total_seconds(), self._wake.set)

    @asynccontextmanager
    async def running(self, publisher: Publisher) -> AsyncIterator[None]:
        """Score lists meanwhile. It is not cancelled: the client of RabbitMQ may lose a cancellation."""
        ended = asyncio.Event()
        task = asyncio.create_task(self._run(publisher, ended))
        try:
            yield
        finally:
            ended.set()
            self._wake.set()
            await asyncio.wait({task}, timeout=_PATIENCE)

    async def _run(self, publisher: Publisher, ended: asyncio.Event) -> None:
        pauses = Pauses()
        while not ended.is_set():
            self._wake.clear()
            try:
                async with asyncio.timeout(_PATIENCE):
                    worked = await self.round(publisher)
            except Exception as error:  # whatever it is: the users wait, and events are stored meanwhile
                if not pauses.failures:
                    _LOG.warning("Lists wait to be scored again: %s: %s", type(error).__name__, error)
                await wait(ended, pauses.next())
                continue
            pauses.reset()
            if not worked:
                await wait(self._wake, _POLL)

    async def round(self, publisher: Publisher) -> int:
        """Score the lists of users who wait; returns their number. Raises the error of an outage."""
        taken = await requests.take(self.pool, _GROUP)
        hopeless = [one for one in taken if one.attempts > _MOST_ATTEMPTS]
        hopeful = [one for one in taken if one.attempts <= _MOST_ATTEMPTS]
        try:
            done, lists = await self._scored(hopeful)
            await publisher.publish(await keep(self.pool, lists))
            if await requests.finish(self.pool, [*done, *hopeless]):
                self.wake()
        except Exception:
            with suppress(Exception):  # a database that is down: the requests are taken again after a while
                await requests.give_back(self.pool, hopeful)
            raise
        RESCORED.labels("scored").inc(len(done))
        RESCORED.labels("failed").inc(len(hopeless))
        return len(taken)

    async def _scored(self, taken: Sequence[Request]) -> tuple[list[Request], list[LiveList]]:
        """Return the requests that were scored, and their lists. A request that fails alone is taken again later."""
        try:
            return [*taken], await self.scorer.lists_of(taken)
        except _OUTAGE:
            raise
        except Exception:
            if len(taken) == 1:
                _LOG.exception("The lists of a user cannot be scored (attempt %d).", taken[0].attempts)
                return [], []
        alone = [await self._scored([one]) for one in taken]
        return [one for done, _ in alone for one in done], [one for _, lists in alone for one in lists]

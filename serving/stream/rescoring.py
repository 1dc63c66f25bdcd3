"""Scores lists again while a broker is connected: takes users who wait, stores their lists, and publishes them.

Users who wait for new lists have a row each, which commits with the events and outlives a kill. Their lists are scored
as the API does: by its scorer, its rules, and what may be shown now.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import asyncpg
import orjson

from models.lists.rules.layer.rule_layer import RuleVersion
from models.lists.rules.placement_config import Placement
from serving.answers.protocol import Answer, Entry, Filters, Listing, ListRequest, LiveUnavailableError, Visitor
from serving.answers.selection import Selection, page
from serving.events.clock import CLOCK
from serving.events.message import Message
from serving.events.store import PROFILE_LIFETIME
from serving.http.metrics import RESCORED
from serving.live.live_scorer import LiveListScorer
from serving.live.visitor_facts import LatestItems, latest_items_of_all
from serving.stores.catalogue import CatalogueReader
from serving.stores.lists import Listed, PublishedLists
from serving.stores.postgres import Postgres
from serving.stores.refresher import wait
from serving.stores.rules import LayeredPlacements, RuleReader
from serving.stores.shared_loads import PostgresDownError, SharedReads
from serving.stream.delivery import EVENT, Pauses, Stream, Update

PAUSE: Final = timedelta(milliseconds=50)
"""Events of a user within this time are one request."""
_LEASE: Final = timedelta(seconds=15)
"""A request that was taken for so long is taken again: its consumer was killed."""
_ASK: Final = """
    INSERT INTO rescoring_requests AS waiting (user_key, occurred_at, due_at)
    SELECT acted.user_key, max(least(acted.at, now())), now() + $3::interval
    FROM unnest($1::text[], $2::timestamptz[]) AS acted (user_key, at)
    JOIN users ON users.user_key = acted.user_key AND users.consent
    WHERE acted.at > now() - $4::interval
        AND NOT EXISTS (SELECT FROM suppressions WHERE suppressions.user_key = acted.user_key)
    GROUP BY acted.user_key ORDER BY acted.user_key
    ON CONFLICT (user_key) DO UPDATE SET version = waiting.version + 1, bulk = false,
        occurred_at = greatest(waiting.occurred_at, excluded.occurred_at)"""
_TAKE: Final = """
    UPDATE rescoring_requests AS waiting SET due_at = now() + $2::interval, attempts = waiting.attempts + 1
    FROM (SELECT user_key FROM rescoring_requests WHERE due_at <= now() ORDER BY bulk, due_at LIMIT $1
          FOR UPDATE SKIP LOCKED) AS due
    WHERE waiting.user_key = due.user_key
    RETURNING waiting.user_key, waiting.occurred_at, waiting.version, waiting.attempts"""
# In the order of the keys, as they are added: two transactions that lock the same rows cannot block each other.
_LOCKED: Final = """
    SELECT waiting.user_key, waiting.version = given.version AS same
    FROM rescoring_requests AS waiting JOIN unnest($1::text[], $2::int[]) AS given (user_key, version) USING (user_key)
    ORDER BY waiting.user_key FOR UPDATE OF waiting"""
_FINISH: Final = f"""
    WITH done AS ({_LOCKED}), gone AS (
        DELETE FROM rescoring_requests AS waiting USING done WHERE waiting.user_key = done.user_key AND done.same)
    UPDATE rescoring_requests AS waiting SET due_at = now() + $3::interval, attempts = 0
    FROM done WHERE waiting.user_key = done.user_key AND NOT done.same
    RETURNING waiting.user_key"""
_GIVE_BACK: Final = f"""
    WITH done AS ({_LOCKED})
    UPDATE rescoring_requests AS waiting SET due_at = now(), attempts = greatest(waiting.attempts - 1, 0)
    FROM done WHERE waiting.user_key = done.user_key"""


@dataclass(frozen=True)
class Request:
    """A user whose lists are to follow an event."""

    user_key: str
    occurred_at: datetime
    """The time of the newest event."""
    version: int
    attempts: int
    """How often it was taken, this time included. An outage counts as none."""


async def take(pool: asyncpg.Pool, most: int) -> list[Request]:
    """Return requests that are due, which no other consumer takes meanwhile."""
    return [Request(*row) for row in await pool.fetch(_TAKE, most, _LEASE)]


_ERASED: Final = "SELECT user_id FROM identity.erasure_notices ORDER BY user_id LIMIT $1"
_TOLD: Final = "DELETE FROM identity.erasure_notices WHERE user_id = ANY($1::text[])"


async def publish_erasures(pool: asyncpg.Pool, stream: Stream, placements: Collection[str]) -> int:
    """Publish an empty list for each erased user of whom no receiver was told; returns their number."""
    users = [row["user_id"] for row in await pool.fetch(_ERASED, _GROUP)]
    if users:
        stated = {"event": EVENT, "scored_at": CLOCK.now(), "items": [], "erased": True}
        pairs = [{"user_id": user, "placement": name} for user in users for name in placements]
        updates = [Update(one["user_id"], one["placement"], orjson.dumps(one | stated)) for one in pairs]
        await stream.publish(updates)
        await pool.execute(_TOLD, users)
    return len(users)


def _names(requests: Sequence[Request]) -> tuple[list[str], list[int]]:
    return [one.user_key for one in requests], [one.version for one in requests]


_KEEP: Final = "SELECT placement, user_key, user_id FROM keep_live_lists($1::jsonb)"
_LOG: Final = logging.getLogger(__name__)
_GROUP: Final = 16
"""Users of one round."""
_PATIENCE: Final = 10.0
"""Seconds for one round: less than others wait before they take its users."""
_POLL: Final = 1.0
"""Seconds until the requests of other consumers, which may have been killed, are looked for."""
_MOST_ATTEMPTS: Final = 5


@dataclass(frozen=True)
class LiveList:
    """A list that was scored again."""

    request: Request
    answer: Answer
    batch_id: int
    """The batch in whose place it is shown."""
    rules_version: int
    expires_at: datetime
    counts: bool
    """Whether it takes the place of the batch's list."""


class StoredClicks:
    """The clicks of visitors as they are stored at this moment: an event that was just committed counts."""

    def __init__(self, postgres: Postgres) -> None:
        """Read through these connections."""
        self._items = SharedReads(partial(latest_items_of_all, postgres), postgres.size)

    def maybe(self, visitor: Visitor) -> bool:  # noqa: ARG002
        """Return True: it is read."""
        return True

    async def items(self, visitor: Visitor) -> LatestItems:
        """Return the items of the latest acts. Raises PostgresDownError."""
        return await self._items.get((visitor.user_key, visitor.session_key))


class ListScorer:
    """Scores all live placements of a user."""

    def __init__(
        self,
        placements: LayeredPlacements,
        scorer: LiveListScorer,
        lists: PublishedLists,
        catalogue: CatalogueReader,
        rules: RuleReader,
    ) -> None:
        """Read the user's standing and the batch's list through `lists`."""
        self._placements, self._scorer, self._lists = placements, scorer, lists
        self._catalogue, self._rules = catalogue, rules

    @property
    def placements(self) -> Collection[str]:
        """The placements with live lists."""
        return self._placements.snapshot.keys()

    async def lists_of(self, requests: Sequence[Request]) -> list[LiveList]:
        """Return the lists of users: none without consent, or before a placement is published.

        Raises PostgresDownError and LiveUnavailableError during an outage, and without a champion.
        """
        placements: Mapping[str, Placement] = self._placements.snapshot
        return [one for name, placement in placements.items() for one in await self._of(requests, name, placement)]

    async def _of(self, requests: Sequence[Request], name: str, placement: Placement) -> list[LiveList]:
        version = self._rules.current
        stored = await asyncio.gather(*(self._lists.read(name, one.user_key, of_batch=True) for one in requests))
        read = [
            (request, one)
            for request, one in zip(requests, stored, strict=True)
            if one.standing.consented and one.batch_id is not None
        ]
        if not read:
            return []
        asked = [(ListRequest(name, Visitor(one.user_key), placement.k), list_.standing) for one, list_ in read]
        listings = await self._scorer.recommend_all(asked)
        return [
            self._made(request, name, placement, one, listing, version)
            for (request, one), listing in zip(read, listings, strict=True)
        ]

    def _made(
        self,
        request: Request,
        name: str,
        placement: Placement,
        stored: Listed,
        listing: Listing | None,
        version: RuleVersion,
    ) -> LiveList:
        """Return what may be shown of a list now."""
        if listing is None or listing.degraded or listing.model_version is None or stored.batch_id is None:
            raise LiveUnavailableError("The list cannot be scored now.")
        now, catalogue = self._rules.now(), self._catalogue.current
        selection = Selection.of(stored.standing, Filters(), self._placements.layer(name).hidden)
        shown = selection.visible(listing, catalogue, placement.k)
        left = None if shown else _left(stored, listing.bought_since)
        if left is not None:
            shown = selection.visible(replace(listing, entries=left), catalogue, placement.k)
        answer = page(shown, 0, listing, "live", name, catalogue, degraded=False, personal=True)
        ends = (request.occurred_at + PROFILE_LIFETIME, version.layer.next_end(now))
        # With nothing to show, the list of the batch counts, unless it has what was bought since.
        counts = bool(shown) or left is not None
        until = min(one for one in ends if one is not None) if counts else now - timedelta(seconds=1)
        return LiveList(request, answer, stored.batch_id, version.version, until, counts)


def _left(stored: Listed, bought: frozenset[str]) -> tuple[Entry, ...] | None:
    """Return what is left of the batch's list; None if nothing of it was bought."""
    published = tuple(map(Entry._make, stored.entries or ()))
    left = tuple(entry for entry in published if entry.item_id not in bought)
    return None if left == published else left


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
        """Ask for new lists of the users of messages who consent, in the transaction that stores these.

        A user who waits already is asked for once.
        """
        acted = [
            (one.user_key, one.effects.stated_at)
            for one in messages
            if one.user_key and one.consent is not False and (one.effects.acted_on or one.effects.joined)
        ]
        if not acted:
            return
        try:
            async with connection.transaction():
                await connection.execute(_ASK, *map(list, zip(*acted, strict=True)), PAUSE, PROFILE_LIFETIME)
        except asyncpg.PostgresError as error:
            if not connection.is_closed():
                _LOG.warning("Lists are not scored again after some events: %s.", type(error).__name__)

    def wake(self) -> None:
        """Look for requests as soon as they are due: a transaction with some was committed."""
        asyncio.get_running_loop().call_later(PAUSE.total_seconds(), self._wake.set)

    @asynccontextmanager
    async def running(self, stream: Stream) -> AsyncIterator[None]:
        """Score lists meanwhile. It is not cancelled: the client of RabbitMQ may lose a cancellation."""
        ended = asyncio.Event()
        task = asyncio.create_task(self._run(stream, ended))
        try:
            yield
        finally:
            ended.set()
            self._wake.set()
            await asyncio.wait({task}, timeout=_PATIENCE)

    async def _run(self, stream: Stream, ended: asyncio.Event) -> None:
        pauses = Pauses()
        while not ended.is_set():
            self._wake.clear()
            try:
                async with asyncio.timeout(_PATIENCE):
                    worked = await self.round(stream)
            except Exception as error:  # whatever it is: the users wait, and events are stored meanwhile
                if not pauses.failures:
                    _LOG.warning("Lists wait to be scored again: %s: %s", type(error).__name__, error)
                await wait(ended, pauses.next())
                continue
            pauses.reset()
            if not worked:
                await wait(self._wake, _POLL)

    async def round(self, stream: Stream) -> int:
        """Score the lists of users who wait; returns their number. Raises the error of an outage."""
        erased = await publish_erasures(self.pool, stream, self.scorer.placements)
        taken = await take(self.pool, _GROUP)
        hopeless = [one for one in taken if one.attempts > _MOST_ATTEMPTS]
        hopeful = [one for one in taken if one.attempts <= _MOST_ATTEMPTS]
        try:
            done, lists = await self._scored(hopeful)
            await stream.publish(await keep(self.pool, lists))
            if (ended := [*done, *hopeless]) and await self.pool.fetch(_FINISH, *_names(ended), PAUSE):
                self.wake()  # some have newer events
        except Exception:
            with suppress(Exception):  # a database that is down: the requests are taken again after a while
                await self.pool.execute(_GIVE_BACK, *_names(hopeful))
            raise
        RESCORED.labels("scored").inc(len(done))
        RESCORED.labels("failed").inc(len(hopeless))
        return len(taken) + erased

    async def _scored(self, taken: Sequence[Request]) -> tuple[list[Request], list[LiveList]]:
        """Return the requests that were scored, and their lists. A request that fails alone is taken again later."""
        try:
            return [*taken], await self.scorer.lists_of(taken)
        except (LiveUnavailableError, PostgresDownError):
            raise
        except Exception:
            if len(taken) == 1:
                _LOG.exception("The lists of a user cannot be scored (attempt %d).", taken[0].attempts)
                return [], []
        alone = [await self._scored([one]) for one in taken]
        return [one for done, _ in alone for one in done], [one for _, lists in alone for one in lists]

"""Reads published lists with their texts, through the cache, and never one from before a change of its user."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any, Final

import orjson

from serving.stores.cache.shared_loads import Loaded, SharedLoads
from serving.stores.cache.store import cache_key
from serving.stores.database.postgres import Postgres
from serving.stores.database.shared_reads import SharedReads
from serving.stores.lists.live_batches import BatchCodes, LiveBatches
from serving.stores.standing import NOBODY, ChangedMeanwhileError, Listed, Standing
from serving.stores.user_changes import ConsentChanges

_STATEMENT: Final = "SELECT * FROM served_lists($1, $2)"
FIRST: Final = (_STATEMENT, [""], [""])
"""Lets a new connection plan the statement."""
_SMALL: Final = 1e-3
Key = tuple[str, str]
"""Placement and subject."""
_ATTEMPTS: Final = 4
_PAUSE_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True)
class StoredList:
    """The published list of one subject, as codes of its batch, and the standing of the user."""

    standing: Standing
    batch_id: int | None
    """The live batch of the placement; None if nothing is published."""
    model_version: int | None
    items: Sequence[int] | None
    """None if the batch has no list for the subject, or if its user does not consent."""
    scores: Sequence[float]
    reasons: Sequence[int]
    read_at: float
    """When the statement began, in epoch seconds of the database's clock."""
    live: "ScoredList | None" = None
    """The list that was scored after an event, which counts in place of that of the batch."""


@dataclass(frozen=True, slots=True)
class ScoredList:
    """A list that a consumer stored, under the present rules."""

    model_version: int
    entries: tuple[tuple[str, float, str], ...]
    """Item, score and reason, best first."""


class PublishedLists:
    """Reads lists with at most one statement per list at a time, and few statements at all under load."""

    def __init__(self, postgres: Postgres) -> None:
        """Read through these connections, at most half of them at a time."""
        self._postgres = postgres
        self._lists = SharedReads(self._read, postgres.size)

    async def read(self, placement: str, subject: str) -> StoredList:
        """Return the live list of a subject. Raises PostgresDownError."""
        return await self._lists.get((placement, subject))

    async def _read(self, keys: Sequence[Key]) -> list[StoredList]:
        rows = await self._postgres.fetch(_STATEMENT, *map(list, zip(*keys, strict=True)))
        return [_stored_list(row) for row in sorted(rows, key=itemgetter("nth"))]


def _stored_list(row: Any) -> StoredList:
    consent, items = row["consent"], row["items"]
    consented = bool(consent) and not row["suppressed"]
    excluded = row["excluded"]
    standing = NOBODY if consent is None and not excluded else Standing(consent is not None, consented, tuple(excluded))
    return StoredList(
        standing,
        row["batch_id"],
        row["model_version"],
        items,
        row["scores"] or (),
        row["reasons"] or (),
        row["read_at"],
        None if row["live_items"] is None else ScoredList(row["live_model_version"], _live_entries(row)),
    )


def _live_entries(row: Any) -> tuple[tuple[str, float, str], ...]:
    scores = map(rounded, row["live_scores"])
    return tuple(zip(row["live_items"], scores, row["live_reasons"], strict=True))


def rounded(score: float) -> float:
    """Return a 32-bit number without the digits that it does not have."""
    return round(score, 7) if abs(score) > _SMALL else score


class UserLists:
    """The lists of users and items in the live batches."""

    def __init__(
        self, lists: PublishedLists, codes: BatchCodes, live: LiveBatches, loads: SharedLoads, changes: ConsentChanges
    ) -> None:
        """Keep lists in the cache of `loads`."""
        self._lists, self._codes, self._live, self._loads, self._changes = lists, codes, live, loads, changes

    async def of_item(self, placement: str, item_id: str) -> Listed:
        """Return an item's list. Raises PostgresDownError."""
        return await self._cached(placement, item_id)

    async def of_user(self, placement: str, user_key: str) -> Listed:
        """Return a user's list and standing, as they are after all changes that this process has been notified of.

        Raises PostgresDownError, or ChangedMeanwhileError.
        """
        listed = await self._cached(placement, user_key)
        for attempt in range(_ATTEMPTS):
            if self._changes.unchanged_since(user_key, listed.read_at):
                return listed
            if attempt:
                await asyncio.sleep(_PAUSE_SECONDS)  # the change is being dated
            listed = await self._cached(placement, user_key, outdated=True)
        raise ChangedMeanwhileError

    async def _cached(self, placement: str, subject: str, *, outdated: bool = False) -> Listed:
        batch = self._live.by_placement.get(placement)
        number, version = (None, None) if batch is None else (batch.batch_id, batch.model_version)
        key = cache_key(placement, number, version, "list", subject)
        read = self._loads.replace if outdated else self._loads.get
        loaded: list[Listed] = []
        load = partial(self._load, loaded, placement, subject, number)
        value = await read(key, load)
        if loaded:
            return loaded[0]
        try:
            return _decoded(value)
        except (ValueError, TypeError):  # another program wrote it
            return _decoded(await self._loads.replace(key, load))

    async def _load(self, loaded: list[Listed], placement: str, subject: str, live: int | None) -> Loaded:
        """Return the list as bytes for others, and add it to `loaded`."""
        stored = await self._lists.read(placement, subject)
        if stored.live is not None:  # not kept: it counts under the rules and until the moment that the database knows
            newer = stored.live
            listed = Listed(stored.standing, None, newer.model_version, newer.entries, stored.read_at)
            loaded.append(listed)
            return Loaded(_encoded(listed), keep=False)
        entries = None
        if stored.items is not None and stored.batch_id is not None:
            ids, reasons = await self._codes.resolve(stored.batch_id, stored.items, stored.reasons)
            scores = map(rounded, stored.scores)
            entries = tuple(entry for entry in zip(ids, scores, reasons, strict=True) if entry[0])
        listed = Listed(stored.standing, stored.batch_id, stored.model_version, entries, stored.read_at)
        loaded.append(listed)
        # A new user, and a batch that was just published, are to be seen by the next request.
        keep = stored.batch_id == live and (stored.standing.known or entries is not None)
        return Loaded(_encoded(listed), keep)


def _encoded(listed: Listed) -> bytes:
    standing, *others = listed
    return orjson.dumps((standing.known, standing.consented, standing.excluded, *others))


def _decoded(value: bytes) -> Listed:
    known, consented, excluded, batch_id, version, entries, read_at = orjson.loads(value)
    listed = None if entries is None else tuple(map(tuple, entries))
    return Listed(Standing(known, consented, tuple(excluded)), batch_id, version, listed, read_at)

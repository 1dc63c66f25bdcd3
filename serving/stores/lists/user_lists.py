"""Reads published lists with their texts, through the cache, and never one from before a change of its user."""

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, Final

import orjson

from serving.stores.cache.shared_loads import Loaded, SharedLoads, cache_key
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


class PublishedLists:
    """Reads lists with at most one statement per list at a time, and few statements at all under load."""

    def __init__(self, postgres: Postgres, codes: BatchCodes) -> None:
        """Read through these connections, at most half of them at a time, and resolve the codes of batches."""
        self._postgres, self._codes = postgres, codes
        self._rows = SharedReads(self._read, postgres.size)

    async def read(self, placement: str, subject: str, *, of_batch: bool = False) -> Listed:
        """Return the list of a subject: one that was scored after an event takes the place of that of the batch.

        With `of_batch` it does not. Raises PostgresDownError.
        """
        row = await self._rows.get((placement, subject))
        standing, batch_id = _standing(row), row["batch_id"]
        if row["live_items"] is not None and not of_batch:
            entries = _entries(row["live_items"], row["live_scores"], row["live_reasons"])
            return Listed(standing, None, row["live_model_version"], entries, row["read_at"])
        if row["items"] is None or batch_id is None:
            return Listed(standing, batch_id, row["model_version"], None, row["read_at"])
        items, reasons = await self._codes.resolve(batch_id, row["items"], row["reasons"])
        entries = tuple(entry for entry in _entries(items, row["scores"], reasons) if entry[0])
        return Listed(standing, batch_id, row["model_version"], entries, row["read_at"])

    async def _read(self, keys: Sequence[Key]) -> list[Any]:
        rows = await self._postgres.fetch(_STATEMENT, *map(list, zip(*keys, strict=True)))
        return sorted(rows, key=itemgetter("nth"))


def _standing(row: Any) -> Standing:
    consent, excluded = row["consent"], row["excluded"]
    if consent is None and not excluded:
        return NOBODY
    return Standing(consent is not None, bool(consent) and not row["suppressed"], tuple(excluded))


def _entries(
    items: Iterable[str], scores: Iterable[float], reasons: Iterable[str]
) -> tuple[tuple[str, float, str], ...]:
    return tuple(zip(items, map(rounded, scores), reasons, strict=True))


def rounded(score: float) -> float:
    """Return a 32-bit number without the digits that it does not have."""
    return round(score, 7) if abs(score) > _SMALL else score


class UserLists:
    """The lists of users and items in the live batches."""

    def __init__(self, lists: PublishedLists, live: LiveBatches, loads: SharedLoads, changes: ConsentChanges) -> None:
        """Keep lists in the cache of `loads`."""
        self._lists, self._live, self._loads, self._changes = lists, live, loads, changes

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
        listed = await self._lists.read(placement, subject)
        loaded.append(listed)
        # A new user, and a batch that was just published, are to be seen by the next request. A list without a batch
        # counts under the rules and until the moment that the database knows.
        lasts = listed.standing.known if listed.entries is None else listed.batch_id is not None
        return Loaded(_encoded(listed), keep=lasts and listed.batch_id == live)


def _encoded(listed: Listed) -> bytes:
    standing, *others = listed
    return orjson.dumps((standing.known, standing.consented, standing.excluded, *others))


def _decoded(value: bytes) -> Listed:
    known, consented, excluded, batch_id, version, entries, read_at = orjson.loads(value)
    listed = None if entries is None else tuple(map(tuple, entries))
    return Listed(Standing(known, consented, tuple(excluded)), batch_id, version, listed, read_at)

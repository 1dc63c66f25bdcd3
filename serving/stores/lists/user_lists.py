"""Reads a published list with its texts, through the cache, and never one from before a change of its user."""

import asyncio
from functools import partial
from typing import Final

import orjson

from serving.stores.cache.keys import cache_key
from serving.stores.cache.shared_loads import Loaded, SharedLoads
from serving.stores.lists.batch_codes import BatchCodes
from serving.stores.lists.live_batches import LiveBatches
from serving.stores.lists.published_lists import PublishedLists, rounded
from serving.stores.standing import ChangedMeanwhileError, Listed, Standing
from serving.stores.user_changes import ConsentChanges

_ATTEMPTS: Final = 4
_PAUSE_SECONDS: Final = 0.01


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

"""Decides whether an answer may depend on its visitor, and reads what is stored for it: standing and lists."""

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from models.recommenders.explanations.sentences import NONE
from models.recommenders.item_based.bought_together import fit_of_lists
from serving.answers.answer import Entry, Listing
from serving.answers.request import Visitor
from serving.answers.search import Search
from serving.http.metrics import CONSENT_DENIED
from serving.stores.lists import ChangedMeanwhileError, Listed, Standing
from serving.stores.shared_loads import PostgresDownError

if TYPE_CHECKING:
    from serving.stores.stores import Stores

_NO_VISITOR: Final = Visitor()
_UNCHECKED: Final = Standing(known=True, consented=True)
"""On a server without a database nothing is stored about users but the model itself."""
_DENIED: Final = CONSENT_DENIED.labels("answer")


class StoredAnswers:
    """The stores of a server, or those of a bundle alone: none."""

    def __init__(self, stores: "Stores | None") -> None:
        """Read from these stores."""
        self._stores = stores

    @property
    def connected(self) -> bool:
        """Return whether every withdrawal of consent reaches this process within seconds."""
        return self._stores is None or self._stores.changes.connected

    async def check(self, search: Search) -> None:
        """Read the visitor's standing and list. Without consent, the request goes on without user and session.

        So it does while notifications of revoked consent do not arrive; then the answer is degraded.
        """
        connected = self.connected
        search.degraded = not connected
        if search.user_key is not None:
            await self._check_user(search, search.user_key, connected=connected)
        if not (search.personal if search.user_key is not None else connected):
            search.request = replace(search.request, visitor=_NO_VISITOR)

    def may_show(self, user_key: str | None, read_at: float) -> bool:
        """Return whether an answer may be shown again: consent and exclusions are as they were read then."""
        if user_key is None or self._stores is None:
            return True
        return self.connected and self._stores.changes.unchanged_since(user_key, read_at)

    async def _check_user(self, search: Search, user_key: str, *, connected: bool) -> None:
        if self._stores is None:
            search.standing, search.personal = _UNCHECKED, True
            return
        if connected:
            try:
                listed = await self._stores.lists.of_user(search.request.placement, user_key)
            except PostgresDownError:
                search.degraded = True
            except ChangedMeanwhileError:  # the next request sees the change
                pass
            else:
                search.standing, search.read_at = listed.standing, listed.read_at
                search.personal = listed.standing.consented
                search.table = _listing(listed, personal=True) if search.personal else None
        if not search.personal:
            _DENIED.inc()

    async def lists_of_items(self, search: Search, items: tuple[str, ...]) -> Listing | None:
        """Return the published list of an item, or what goes with all of several items."""
        if self._stores is None:
            return None
        placement = search.request.placement
        try:
            found = await asyncio.gather(*(self._stores.lists.of_item(placement, item) for item in items))
        except PostgresDownError:
            search.degraded = True
            return None
        listings = [listing for listed in found if (listing := _listing(listed)) is not None]
        return _together(listings) if len(items) > 1 and listings else next(iter(listings), None)


def _listing(listed: Listed, *, personal: bool = False) -> Listing | None:
    if listed.entries is None:
        return None
    return Listing(tuple(map(Entry._make, listed.entries)), listed.model_version, listed.batch_id, personal)


def _together(listings: list[Listing]) -> Listing:
    """Return the items of several lists by how well they go with all of the lists' subjects."""
    names, fit = fit_of_lists([{entry.item_id: entry.score for entry in listing.entries} for listing in listings])
    order = np.argsort(-fit, kind="stable").tolist()
    return replace(listings[0], entries=tuple(Entry(str(names[at]), round(float(fit[at]), 4), NONE) for at in order))

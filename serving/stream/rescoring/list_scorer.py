"""Scores a user's lists of live placements as the API does: its scorer, its rules, and what may be shown now."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from models.lists.rules.layer.rule_layer import RuleVersion
from models.lists.rules.placement_config import Placement
from serving.answers.answer import Answer, Entry, Listing
from serving.answers.interfaces import LiveUnavailableError
from serving.answers.request import Filters, ListRequest, Visitor
from serving.answers.selection import Selection, page
from serving.events.profiles import LatestItems, latest_items_of_all
from serving.events.store import PROFILE_LIFETIME
from serving.live.live_scorer import LiveListScorer
from serving.stores.catalogue import CatalogueReader
from serving.stores.lists import PublishedLists
from serving.stores.postgres import Postgres
from serving.stores.rules import LayeredPlacements, RuleReader
from serving.stores.shared_loads import SharedReads
from serving.stores.standing import Listed
from serving.stream.rescoring.requests import Request

_NO_FILTERS: Final = Filters()


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
        selection = Selection.of(stored.standing, _NO_FILTERS, self._placements.layer(name).hidden)
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

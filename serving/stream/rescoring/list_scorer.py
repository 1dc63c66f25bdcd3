"""Scores a user's lists of live placements as the API does: its scorer, its rules, and what may be shown now."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from models.lists.rules.placement_config import Placement
from serving.answers.answer import Answer
from serving.answers.interfaces import LiveScorer, LiveUnavailableError
from serving.answers.request import Filters, ListRequest, Visitor
from serving.answers.selection import Selection, page
from serving.events.profiles import latest_items
from serving.events.store import PROFILE_LIFETIME
from serving.stores.catalogue_reader import CatalogueReader
from serving.stores.database.postgres import Postgres
from serving.stores.lists.published_lists import PublishedLists
from serving.stores.rules.layered_placements import LayeredPlacements
from serving.stores.rules.rule_reader import RuleReader
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


class StoredClicks:
    """The clicks of visitors as they are stored at this moment: an event that was just committed counts."""

    def __init__(self, postgres: Postgres) -> None:
        """Read through these connections."""
        self._postgres = postgres

    def maybe(self, visitor: Visitor) -> bool:  # noqa: ARG002
        """Return True: it is read."""
        return True

    async def items(self, visitor: Visitor) -> tuple[str, ...]:
        """Return the clicked items, the latest last. Raises PostgresDownError."""
        return await latest_items(self._postgres, visitor.user_key, visitor.session_key)


class ListScorer:
    """Scores all live placements of a user."""

    def __init__(
        self,
        placements: LayeredPlacements,
        scorer: LiveScorer,
        lists: PublishedLists,
        catalogue: CatalogueReader,
        rules: RuleReader,
    ) -> None:
        """Read the user's standing through `lists`."""
        self._placements, self._scorer, self._lists = placements, scorer, lists
        self._catalogue, self._rules = catalogue, rules

    async def lists_of(self, request: Request) -> list[LiveList]:
        """Return the user's lists: none without consent, or before a placement is published.

        Raises PostgresDownError and LiveUnavailableError during an outage, and without a champion.
        """
        placements: Mapping[str, Placement] = self._placements.snapshot
        made = [await self._list_of(request, name, one) for name, one in placements.items()]
        return [one for one in made if one is not None]

    async def _list_of(self, request: Request, name: str, placement: Placement) -> LiveList | None:
        stored, version = await self._lists.read(name, request.user_key), self._rules.current
        if not stored.standing.consented or stored.batch_id is None:
            return None
        asked = ListRequest(name, Visitor(request.user_key), placement.k)
        listing = await self._scorer.recommend(asked, stored.standing)
        if listing is None or listing.degraded or listing.model_version is None:
            raise LiveUnavailableError("The list cannot be scored now.")
        now, catalogue = self._rules.now(), self._catalogue.current
        selection = Selection.of(stored.standing, _NO_FILTERS, self._placements.layer(name).hidden)
        shown = selection.visible(listing, catalogue, placement.k)
        answer = page(shown, 0, listing, "live", name, catalogue, degraded=False, personal=True)
        ends = (request.occurred_at + PROFILE_LIFETIME, version.layer.next_end(now))
        # With nothing to show, the list of the batch counts.
        until = min(one for one in ends if one is not None) if shown else now - timedelta(seconds=1)
        return LiveList(request, answer, stored.batch_id, version.version, until)

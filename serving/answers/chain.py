"""One request on its way through the fallback chain: what is stored for it, and the rules of today."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from models.lists.rules.layer.rule_layer import NO_RULES, RuleChange, RuleLayer, pins, reranked
from models.lists.rules.placement_config import Placement
from models.recommenders.explanations.sentences import NONE
from models.recommenders.item_based.bought_together import fit_of_lists
from serving.answers.best_sellers import BestSellers
from serving.answers.protocol import Entry, Listing, ListRequest, LiveScorer, LiveUnavailableError, Source, Visitor
from serving.answers.selection import Selection
from serving.http.metrics import CONSENT_DENIED
from serving.stores.catalogue import Catalogue
from serving.stores.lists import NOBODY, ChangedMeanwhileError, Listed, Standing
from serving.stores.rules import LayeredPlacements
from serving.stores.shared_loads import PostgresDownError

if TYPE_CHECKING:
    from serving.stores.stores import Stores

Ask = Callable[[LiveScorer, "Search"], Awaitable[Listing | None]]
LIVE_SECONDS: Final = 0.25
"""The time that an answer waits for live scores."""


@dataclass(slots=True)
class Search:
    """What is known of a request when the chain starts. Stages only read it, but for `degraded`."""

    key: Hashable
    """Identifies requests with the same answer."""
    request: ListRequest
    """Without user and session, unless personal answers are allowed."""
    selection: Selection
    user_key: str | None
    """The user who asked, also if the answer may not be personal."""
    rules: RuleLayer = NO_RULES
    """The rules of operators by which the selection was made."""
    standing: Standing = NOBODY
    read_at: float = 0.0
    """When the standing was read, by the database's clock."""
    table: Listing | None = None
    """The published list; None if there is none, if it may not be shown, or before `load_table`."""
    load_table: Callable[[], Awaitable[Listing | None]] | None = None
    """Reads the published list, if the chain needs it."""
    scorer: LiveScorer | None = None
    """The live scorer, which also knows what the placement's rules hide because of events; None if there is none."""
    ask: Ask | None = None
    """Asks the live scorer; None for lists that are never live."""
    live_seconds: float = LIVE_SECONDS
    """The time that the live scorer has."""
    asks_live: bool = False
    """Whether the request asks for what no batch knows."""
    live_helps: bool = True
    """Whether anything is known that live scores could use."""
    personal: bool = False
    """Whether the answer may depend on what is stored about the user."""
    degraded: bool = False
    """Whether a dependency did not answer."""
    letters: int = 0
    """The letters of the items that the request is about."""
    allows_best_sellers: bool = True
    """False for lists that hold only what is due."""
    category: str = ""
    """The category whose best sellers come first: that of the item to which the answer is similar."""

    @property
    def most(self) -> int:
        """Return how many visible items the request needs."""
        return self.request.offset + self.request.k


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
            search.request = replace(search.request, visitor=Visitor())

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


RulesOfBatch = Callable[[int], RuleLayer | None]
"""Returns the rules that a batch was made under; None for a batch that this process does not know yet."""
PresentBest = Callable[[], Awaitable[BestSellers | None]]
"""Returns the best sellers under the present rules; None before any model is loaded."""


@dataclass(frozen=True)
class _Prepared:
    """The change between two layers. It holds both, so that it is found by their identity."""

    then: RuleLayer
    now: RuleLayer
    change: RuleChange
    differs: bool


class PresentRules:
    """Moves the items of published and of remembered lists to where the present rules have them.

    Hidden items are left out of every answer by its selection.
    """

    def __init__(
        self,
        placements: LayeredPlacements,
        of_batch: RulesOfBatch,
        catalogue: Callable[[], Catalogue],
        best: PresentBest,
    ) -> None:
        """Take the rules of batches, the present catalogue and the present best sellers from these."""
        self._placements, self._of_batch, self._catalogue, self._best = placements, of_batch, catalogue, best
        self._prepared: dict[str, _Prepared] = {}
        """The last change of each placement: most lists of a placement have the same batch."""

    async def published(self, search: Search, listing: Listing) -> Listing:
        """Return a list of a batch under the present rules."""
        return await self.reranked(search, listing, self._then(search.request.placement, listing))

    async def reranked(self, search: Search, listing: Listing, then: RuleLayer, page: range | None = None) -> Listing:
        """Return a list that was made under the rules `then`; with the places of a `page` it is that page."""
        name = search.request.placement
        prepared = self._change(name, then)
        if prepared is None or not prepared.differs:
            return listing
        listed = {entry.item_id for entry in listing.entries}
        new = prepared.change.new_pins - listed
        insertable = await self._insertable(search, new) if new and listing.entries else new
        visible = [entry for entry in listing.entries if entry.item_id not in prepared.now.hidden]
        entries = tuple(map(Entry._make, reranked(visible, prepared.change, insertable, page)))
        return listing if entries == listing.entries else replace(listing, entries=entries)

    def by_scores(self, placement: str, listing: Listing) -> Listing:
        """Return a list in the order of its scores under the present boosts: pins give up their places."""
        prepared = self._change(placement, self._then(placement, listing))
        if prepared is None:
            return listing
        change = replace(prepared.change, pins_now={})
        return replace(listing, entries=tuple(map(Entry._make, reranked(listing.entries, change))))

    def _then(self, placement: str, listing: Listing) -> RuleLayer:
        """Return the rules that a list was made under; lists without a batch are made under the present ones."""
        then = None if listing.batch_id is None else self._of_batch(listing.batch_id)
        return self._placements.layer(placement) if then is None else then

    def _change(self, placement: str, then: RuleLayer) -> _Prepared | None:
        """Return what changed since `then`, prepared once for all lists; None for a placement without rules."""
        file, now = self._placements.file.get(placement), self._placements.layer(placement)
        if file is None:
            return None
        known = self._prepared.get(placement)
        if known is None or known.then is not then or known.now is not now:
            change = RuleChange(_places(file, then), _places(file, now), self._factor(then, now))
            known = self._prepared[placement] = _Prepared(then, now, change, then != now)
        return known

    def _factor(self, then: RuleLayer, now: RuleLayer) -> Callable[[str], float]:
        before, after = then.factors, now.factors

        def factor(item_id: str) -> float:
            item = self._catalogue().by_id.get(item_id)
            if item is None:
                return 1.0
            about = item.item_id, item.category, item.brand
            return after.factor(*about) / before.factor(*about)

        return factor

    async def _insertable(self, search: Search, items: frozenset[str]) -> frozenset[str]:
        """Return the pinned items that the visitor may have, by the placement's rules and by earlier events."""
        name, best = search.request.placement, await self._best()
        if self._placements[name].policy == "repurchase":
            return frozenset()  # only what is due is shown
        allowed = None if best is None else best.narrowed.get(name)
        shown = items if allowed is None else frozenset(item for item in items if item in allowed)
        if search.scorer is None or not shown:
            return shown
        hidden = await search.scorer.hidden(search.request)
        search.degraded = search.degraded or not hidden.complete
        return shown - hidden.items


def _places(file: Placement, layer: RuleLayer) -> dict[str, int]:
    return {pin.item: pin.place for pin in pins(file, layer)}


async def best_sellers(best: BestSellers, search: Search, segment: str) -> Listing | None:
    """Return best sellers under the placement's rules and the request's filters, the search's category first.

    Rare filters are looked up among all items, in a thread.
    """
    if not search.allows_best_sellers:
        return None
    placement, filters, most = search.request.placement, search.request.filters, search.most + 20
    listing = best.listing(placement, segment)
    if listing is not None and filters.narrows:
        listing = await asyncio.to_thread(best.filtered, placement, filters, most, segment)
    if listing is not None and search.category and not filters.categories:
        filters = replace(filters, categories=(search.category,))
        nearer = await asyncio.to_thread(best.filtered, placement, filters, most, segment)
        listing = listing if nearer is None else best.joined(placement, nearer, listing)
    return None if listing is None else await without_hidden(search, listing)


async def without_hidden(search: Search, listing: Listing) -> Listing:
    """Return a list without what the rules hide because of events; the answer is degraded if that is unknown."""
    if search.scorer is None:
        return listing
    hidden = await search.scorer.hidden(search.request)
    search.degraded = search.degraded or not hidden.complete
    kept = tuple(entry for entry in listing.entries if entry.item_id not in hidden.items)
    if len(kept) == len(listing.entries):
        return listing
    return replace(listing, entries=kept, personal=listing.personal or search.personal)


async def live_list(search: Search) -> Listing | None:
    """Return live scores; a scorer that is overloaded or slow degrades the answer."""
    if search.scorer is None or search.ask is None:
        return None
    try:
        async with asyncio.timeout(search.live_seconds):
            return await search.ask(search.scorer, search)
    except (TimeoutError, LiveUnavailableError):
        search.degraded = True
        return None


def ranked_without_model(
    items: Sequence[str], table: Listing | None, popular: Listing | None
) -> tuple[Source, Listing]:
    """Return the source of the order, and the items in it; items that neither list holds keep their order."""
    known: dict[str, Entry] = {}
    for listing in (table, popular):
        for entry in () if listing is None else listing.entries:
            known.setdefault(entry.item_id, entry)
    place = {item: at for at, item in enumerate(known)}
    ordered = sorted(dict.fromkeys(items), key=lambda item: place.get(item, len(place)))
    entries = tuple(known.get(item, Entry(item, 0.0, NONE)) for item in ordered)
    if table is not None:
        return "table", Listing(entries, table.model_version, table.batch_id, personal=True, degraded=True)
    return "popular", Listing(entries, None if popular is None else popular.model_version, degraded=True)

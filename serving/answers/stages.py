"""The stages of the fallback chain. Each returns the list of one source, or None to leave the request to the next."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from models.recommenders.explanations.sentences import NONE
from serving.answers.answer import Entry, Listing, Source
from serving.answers.best_sellers import EVERYBODY, BestSellers
from serving.answers.interfaces import LiveUnavailableError
from serving.answers.present_rules import PresentBest, PresentRules
from serving.answers.remembered_answers import RememberedAnswers
from serving.answers.search import Search

Visible = Callable[[Search, Listing], int]
"""Counts the items of a list that a request may get now, as far as it needs."""
Stage = Callable[[Search], Awaitable[Listing | None]]


class Stages:
    """The stages under the present rules, and their order."""

    def __init__(
        self, present: PresentRules, remembered: RememberedAnswers, best: PresentBest, visible: Visible
    ) -> None:
        """Apply these rules, look among these answers, and take the best sellers from `best`."""
        self._present, self._remembered, self._best, self._visible = present, remembered, best, visible
        self.in_order: tuple[tuple[Source, Stage], ...] = (
            ("live", self.asked_live),
            ("table", self._table),
            ("live", self._other_live),
            ("last_good", self._last_good),
            ("segment", self._segment),
            ("popular", self.popular),
        )

    async def asked_live(self, search: Search) -> Listing | None:
        """Return live scores if the request asks for them; a scorer that is overloaded or slow degrades the answer."""
        return await _live(search) if search.asks_live else None

    async def _table(self, search: Search) -> Listing | None:
        """Return the published list, which was read with the user's consent, or is read now, under the rules."""
        if search.load_table is not None:
            search.table = await search.load_table()
        if search.table is not None:
            search.table = await self._present.published(search, search.table)
        return search.table

    async def _other_live(self, search: Search) -> Listing | None:
        """Return live scores for users newer than the batch, and if filters leave too little of the published list."""
        if search.asks_live:
            return None
        if search.table is None:
            return await _live(search) if search.live_helps else None
        is_short = bool(search.request.filters) and self._visible(search, search.table) < search.most
        return await _live(search) if is_short else None

    async def _last_good(self, search: Search) -> Listing | None:
        """Return the items of the last answer to the same request, which is one page, if a dependency is down."""
        remembered = self._remembered.last_good(search.key) if search.degraded else None
        if remembered is None:
            return None
        found = remembered.answer
        entries = tuple(Entry(item.item_id, item.score, item.reason) for item in found.items)
        listing = Listing(entries, found.model_version, found.batch_id, found.personal, degraded=True)
        places = range(search.request.offset + 1, search.most + 1)
        return await self._present.reranked(search, listing, remembered.state.rules, places)

    async def _segment(self, search: Search) -> Listing | None:
        """Return the best sellers of the user's segment, if it is known."""
        best, user_key = await self._best(), search.request.visitor.user_key
        if best is None or user_key is None or not search.personal:
            return None
        segment = best.segment_of(user_key)
        return None if segment == EVERYBODY else await _best_sellers(best, search, segment)

    async def popular(self, search: Search) -> Listing | None:
        """Return the best sellers of all users; before any model is loaded there are none."""
        best = await self._best()
        return Listing((), degraded=True) if best is None else await _best_sellers(best, search, EVERYBODY)


async def _best_sellers(best: BestSellers, search: Search, segment: str) -> Listing | None:
    """Return best sellers under the placement's rules and the request's filters.

    Rare filters are looked up among all items, in a thread.
    """
    if not search.allows_best_sellers:
        return None
    request = search.request
    listing = best.listing(request.placement, segment)
    if listing is not None and request.filters.narrows:
        wanted = request.placement, request.filters, search.most + 20, segment
        listing = await asyncio.to_thread(best.filtered, *wanted)
    return None if listing is None else await without_hidden(search, listing)


async def without_hidden(search: Search, listing: Listing) -> Listing:
    """Return a list without what the rules hide because of events; the answer is degraded if that is unknown."""
    if search.hides is None:
        return listing
    hidden = await search.hides(search.request)
    search.degraded = search.degraded or not hidden.complete
    kept = tuple(entry for entry in listing.entries if entry.item_id not in hidden.items)
    if len(kept) == len(listing.entries):
        return listing
    return replace(listing, entries=kept, personal=listing.personal or search.personal)


async def _live(search: Search) -> Listing | None:
    if search.live is None:
        return None
    call: Awaitable[Listing | None] = search.live(search)
    try:
        async with asyncio.timeout(search.live_seconds):
            return await call
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

"""Answers requests for recommendations, whatever is down: the fallback chain, without HTTP."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Hashable, Mapping
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, ClassVar, Final, get_args

from models.lists.rules.layer.rule_layer import RuleLayer
from models.lists.rules.placement_config import CHAMPION, Placement
from serving.answers import chain
from serving.answers.best_sellers import EVERYBODY, BestSellers, Upkeep
from serving.answers.catalogue_search import CatalogueQuery, CatalogueSearch, FoundItem, TitleIndex
from serving.answers.chain import LIVE_SECONDS, Ask, PresentRules, Search, StoredAnswers
from serving.answers.protocol import Answer, Entry, Listing, ListRequest, LiveScorer, RankRequest, Source, Visitor
from serving.answers.remembered_answers import RememberedAnswers, State
from serving.answers.selection import HiddenItems, Selection, page
from serving.http.metrics import ANSWERS, DEGRADED, VARIANT_SECONDS
from serving.stores.catalogue import Catalogue
from serving.stores.rules import LayeredPlacements
from serving.stores.shared_loads import PostgresDownError

if TYPE_CHECKING:
    from serving.model.holder import ModelHolder
    from serving.stores.stores import Stores

_SOURCES: Final = {source: ANSWERS.labels(source) for source in get_args(Source)}
_MOST_BASKET_ITEMS: Final = 20
_PREVIEW_SECONDS: Final = 2.0
"""The time that live lists of previews have: nothing is prepared for them."""
_NO_VISITOR: Final = Visitor()
# Changes that wait for the reconciler count, so that an item can be added and sold within a second.
UNKNOWN_ITEMS: Final = """
    SELECT name FROM unnest($1::text[]) AS name WHERE NOT EXISTS (SELECT FROM items WHERE item_id = name)
    EXCEPT SELECT waiting_items($1)"""


async def _ask_live(live: LiveScorer, search: Search) -> Listing | None:
    return await live.recommend(search.request, search.standing)


class AnswerService:
    """Answers every request: from memory, the cache, Postgres, live scores, or best sellers."""

    def __init__(
        self,
        models: "ModelHolder",
        placements: Mapping[str, Placement],
        stores: "Stores | None" = None,
        live: LiveScorer | None = None,
        cache_seconds: float = 60.0,
        best: BestSellers | None = None,
        titles: TitleIndex | None = None,
    ) -> None:
        """Answer from these parts. Without stores, a bundle alone answers; without a live scorer, no list is live.

        A server builds `best` and `titles` once for its workers. They count as long as what they were built from is the
        same; rules of operators count from the first answer on.
        """
        self._is_preview = False
        laid = placements if isinstance(placements, LayeredPlacements) else LayeredPlacements(placements)
        self.placements = laid
        self._stores, self._live = stores, live
        self._stored = StoredAnswers(stores)
        self._hidden = HiddenItems()
        self.upkeep = Upkeep(models, laid, stores, best)
        self._catalogue_search = CatalogueSearch(self.upkeep, titles)
        self._remembered = RememberedAnswers(self._stored.may_show, cache_seconds)
        self._present = self._present_rules()

    def under(self, placements: LayeredPlacements, live: LiveScorer, visitor: Visitor) -> "AnswerService":
        """Return a service of one visitor under other placements. It counts and remembers nothing."""
        other = copy(self)
        other.placements, other._live = placements, live
        other.upkeep = self.upkeep.under(placements, visitor.user_key or "")
        other._is_preview = True
        other._remembered = RememberedAnswers(self._stored.may_show, 0.0)
        other._present = other._present_rules()
        return other

    def _present_rules(self) -> PresentRules:
        return PresentRules(self.placements, self._rules_of_batch, lambda: self._catalogue, self.upkeep.present)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep best sellers current, and forget the answers of users who change, meanwhile."""
        if self._stores is not None:
            self._stores.changes.on_users(self._remembered.forget)
        async with self.upkeep.running():
            await self._catalogue_search.ready()
            yield

    def product(self, item_id: str) -> str:
        """Return the item of the catalogue that an id of one of its variants stands for, or the id itself."""
        return self._catalogue.product(item_id)

    def hide(self, visitor: Visitor, item_id: str) -> None:
        """Hide an item from a visitor at once; other processes hide it when the database notifies them."""
        self._hidden.add(visitor, item_id)
        if visitor.user_key is not None:
            self._remembered.forget(frozenset({visitor.user_key}))

    async def recommend(self, request: ListRequest) -> Answer:
        """Return the visitor's list of a placement, or of the visitor's variant while an experiment runs."""
        return await self._varied(request, self._recommended)

    async def _varied(self, request: ListRequest, answered: Callable[[ListRequest], Awaitable[Answer]]) -> Answer:
        """Return the answer of the visitor's variant, under the name of the placement that was asked for."""
        if self._stores is None or self._is_preview or not self._stores.experiments.placements:
            return await answered(request)
        keys = request.visitor.user_key, request.visitor.session_key
        assignment = await self._stores.experiments.assigned(request.placement, *keys)
        if assignment is None:
            return await answered(request)
        began, outcome = monotonic(), "failed"
        try:
            answer = await answered(replace(request, placement=assignment.placement))
            outcome = "answered"
        finally:
            VARIANT_SECONDS.labels(assignment.variant, outcome).observe(monotonic() - began)
        return replace(answer, placement=request.placement, variant=assignment.variant)

    async def _recommended(self, request: ListRequest) -> Answer:
        model = self._model(request.placement)
        asks_live = model == CHAMPION and self._live is not None and self._live.wanted(request)
        request, key = self._normal("recommend", request, keep_session=asks_live)
        if not asks_live and (known := self._fresh(key, request.placement)) is not None:
            return known
        search = await self._search(key, request, _ask_live if model == CHAMPION else None)
        search.asks_live = asks_live and self._live is not None and self._live.wanted(search.request)
        search.live_helps = search.request.visitor != _NO_VISITOR or bool(request.context)
        search.allows_best_sellers = self._shows_more_than_due(request.placement)
        return await self._found(search)

    async def similar(self, item: str, request: ListRequest) -> Answer:
        """Return items that are similar to an item."""

        item = self.product(item)

        async def ask(live: LiveScorer, its: Search) -> Listing | None:
            return await live.similar(item, its.request, its.standing)

        shown = self._catalogue.by_id.get(item)
        category = "" if shown is None else shown.category
        return await self._varied(
            request, lambda varied: self._about(("similar", item), (item,), varied, ask, category)
        )

    async def goes_with(self, items: tuple[str, ...], request: ListRequest) -> Answer:
        """Return items that go with all items of a basket."""

        items = self._catalogue.products_of(items)

        async def ask(live: LiveScorer, its: Search) -> Listing | None:
            return await live.goes_with(items, its.request, its.standing)

        return await self._varied(request, lambda varied: self._about(("goes_with", items), items, varied, ask))

    async def rank(self, request: RankRequest) -> Answer:
        """Return given items in the visitor's order; those that may not be shown are left out."""
        products_of = self._catalogue.products_of
        request = replace(request, items=products_of(request.items), context=products_of(request.context))
        whole = ListRequest(request.placement, request.visitor, len(request.items))
        search = await self._search(
            ("rank", request),
            whole,
            lambda live, its: live.rank(replace(request, visitor=its.request.visitor), its.standing),
        )
        listing = await chain.live_list(search)
        if listing is not None:
            return self._answer(search, "live", listing)
        best = self.upkeep.best
        known = search.table, None if best is None else best.listing(request.placement)
        present = (None if one is None else self._present.by_scores(request.placement, one) for one in known)
        source, ranked = chain.ranked_without_model(request.items, *present)
        return self._answer(search, source, await chain.without_hidden(search, ranked))

    async def popular(self, request: ListRequest) -> Answer:
        """Return the best sellers of a placement."""
        search = await self._search(("popular", request), request, None)
        listing = await self._find_popular(search)
        return self._answer(search, "popular", listing or Listing(()))

    async def trending(self, request: ListRequest) -> Answer:
        """Return items that sell better lately than before."""
        return await self._general("trending", request, lambda best: best.trending)

    async def newest(self, request: ListRequest) -> Answer:
        """Return items whose sale began last."""
        return await self._general("newest", request, lambda best: best.newest)

    async def unknown_items(self, items: Collection[str]) -> frozenset[str]:
        """Return those of the items that no catalogue and no waiting message has; none while that is not known."""
        missing = [item for item in items if item not in self._catalogue.by_id]
        if self._stores is None or not self._stores.catalogue.read or not missing:
            return frozenset()
        try:
            return frozenset(row[0] for row in await self._stores.background.fetch(UNKNOWN_ITEMS, missing))
        except PostgresDownError:
            return frozenset()

    async def find(self, query: CatalogueQuery) -> tuple[FoundItem, ...]:
        """Return items of the catalogue."""
        return await self._catalogue_search.find(query)

    async def _general(self, name: str, request: ListRequest, of: Callable[[BestSellers], Listing]) -> Answer:
        """Return entries of a list for everybody that the placement may show."""
        search = await self._search((name, request), request, None)
        best = self.upkeep.best
        if best is None:
            return self._answer(search, "popular", Listing((), degraded=True))
        listing = best.within(request.placement, of(best))
        return self._answer(search, "popular", await chain.without_hidden(search, listing))

    async def _about(
        self, key: tuple[Hashable, ...], items: tuple[str, ...], request: ListRequest, ask: Ask, category: str = ""
    ) -> Answer:
        """Return what goes with items: from their published lists, else live. About unknown items it is degraded."""
        request, whole_key = self._normal("about", request, *key)
        if (known := self._fresh(whole_key, request.placement)) is not None:
            return known
        search = await self._search(whole_key, request, ask, items)
        search.asks_live, search.category = len(items) > 1, category
        search.degraded = search.degraded or not any(map(self._catalogue.by_id.__contains__, items))
        search.load_table = partial(self._stored.lists_of_items, search, items[:_MOST_BASKET_ITEMS])
        return await self._found(search)

    def _normal(
        self, name: str, request: ListRequest, *others: Hashable, keep_session: bool = False
    ) -> tuple[ListRequest, Hashable]:
        """Return the request without a session that changes nothing, and its key."""
        visitor = request.visitor
        hidden = self._hidden.of(visitor)
        if visitor.session_key is not None and not keep_session and not hidden:
            request = replace(request, visitor=Visitor(visitor.user_key))
        return request, (name, *others, request, len(hidden))

    def _fresh(self, key: Hashable, placement: str) -> Answer | None:
        """Return the fresh answer of this process, if it has one."""
        found = self._remembered.fresh(key, self._state(placement))
        if found is None:
            return None
        if not self._stored.connected:
            found = replace(found, degraded=True)
        return self._counted(found)

    async def _search(
        self, key: Hashable, request: ListRequest, ask: Ask | None, items: tuple[str, ...] = ()
    ) -> Search:
        """Return the search of a request, with the visitor's standing."""
        if self._catalogue.products:
            products_of, filters = self._catalogue.products_of, request.filters
            filters = replace(filters, exclude=products_of(filters.exclude))
            request = replace(request, context=products_of(request.context), filters=filters)
        search = Search(key, request, Selection(), request.visitor.user_key, scorer=self._live, ask=ask)
        search.letters = sum(map(len, items))
        search.live_seconds = _PREVIEW_SECONDS if self._is_preview else LIVE_SECONDS
        await self._stored.check(search)
        search.rules = self.placements.layer(request.placement)
        others = (request.context, items, self._hidden.of(request.visitor), search.rules.hidden)
        search.selection = Selection.of(search.standing, request.filters, *others)
        return search

    async def _found(self, search: Search) -> Answer:
        """Return the answer of the first stage with items to show."""
        answer = None
        for source, find in self._CHAIN:
            listing = await find(self, search)
            if listing is None:
                continue
            answer = self._made(search, source, listing)
            if answer.item_ids or self._is_complete(search, source, listing):
                break
            search.selection = search.selection.without(listing.bought_since)
        return self._kept(search, answer or self._made(search, "popular", Listing(())))

    async def _find_asked_live(self, search: Search) -> Listing | None:
        """Return live scores if the request asks for them."""
        return await chain.live_list(search) if search.asks_live else None

    async def _find_table(self, search: Search) -> Listing | None:
        """Return the published list, which was read with the user's consent, or is read now, under the rules."""
        if search.load_table is not None:
            search.table = await search.load_table()
        if search.table is not None:
            search.table = await self._present.published(search, search.table)
        return search.table

    async def _find_other_live(self, search: Search) -> Listing | None:
        """Return live scores for users newer than the batch, and if filters leave too little of the published list."""
        if search.asks_live:
            return None
        if search.table is None:
            return await chain.live_list(search) if search.live_helps else None
        is_short = bool(search.request.filters) and self._count(search, search.table) < search.most
        return await chain.live_list(search) if is_short else None

    async def _find_last_good(self, search: Search) -> Listing | None:
        """Return the items of the last answer to the same request, which is one page, if a dependency is down."""
        remembered = self._remembered.last_good(search.key) if search.degraded else None
        if remembered is None:
            return None
        found = remembered.answer
        entries = tuple(Entry(item.item_id, item.score, item.reason) for item in found.items)
        listing = Listing(entries, found.model_version, found.batch_id, found.personal, degraded=True)
        places = range(search.request.offset + 1, search.most + 1)
        return await self._present.reranked(search, listing, remembered.state.rules, places)

    async def _find_segment(self, search: Search) -> Listing | None:
        """Return the best sellers of the user's segment, if it is known."""
        best, user_key = await self.upkeep.present(), search.request.visitor.user_key
        if best is None or user_key is None or not search.personal:
            return None
        if self._model(search.request.placement) == "best_sellers":  # those of all users
            return None
        segment = best.segment_of(user_key)
        return None if segment == EVERYBODY else await chain.best_sellers(best, search, segment)

    async def _find_popular(self, search: Search) -> Listing | None:
        """Return the best sellers of all users; before any model is loaded there are none."""
        best = await self.upkeep.present()
        return Listing((), degraded=True) if best is None else await chain.best_sellers(best, search, EVERYBODY)

    _CHAIN: ClassVar[tuple[tuple[Source, Callable[["AnswerService", Search], Awaitable[Listing | None]]], ...]] = (
        ("live", _find_asked_live),
        ("table", _find_table),
        ("live", _find_other_live),
        ("last_good", _find_last_good),
        ("segment", _find_segment),
        ("popular", _find_popular),
    )
    """The stages. Each returns the list of one source, or None to leave the request to the next."""

    def _is_complete(self, search: Search, source: Source, listing: Listing) -> bool:
        """Return whether an empty page is the answer: it is beyond the last one, or nothing more is due."""
        if source == "table" and not search.allows_best_sellers:
            return True
        return search.request.offset > 0 and bool(self._count(search, listing))

    def _count(self, search: Search, listing: Listing) -> int:
        return len(search.selection.visible(listing, self._catalogue, search.most))

    def _made(self, search: Search, source: Source, listing: Listing) -> Answer:
        request = search.request
        shown = search.selection.visible(listing, self._catalogue, search.most)
        first = 0 if source == "last_good" else request.offset  # a last answer is a page already
        return page(
            shown[first : first + request.k],
            request.offset,
            listing,
            source,
            request.placement,
            self._catalogue,
            degraded=search.degraded,
            personal=listing.personal or (search.personal and bool(search.standing.excluded)),
        )

    def _answer(self, search: Search, source: Source, listing: Listing) -> Answer:
        return self._counted(self._made(search, source, listing))

    def _kept(self, search: Search, answer: Answer) -> Answer:
        """Remember an answer that the same request may get again, unless the rules changed while it was made."""
        live_for_somebody = answer.source == "live" and search.request.visitor != _NO_VISITOR
        state = self._state(answer.placement)
        if not answer.degraded and not live_for_somebody and state.rules == search.rules:
            letters = search.request.letters + search.letters
            self._remembered.remember(search.key, answer, state, search.user_key, search.read_at, letters)
        return self._counted(answer)

    def _counted(self, answer: Answer) -> Answer:
        if not self._is_preview:
            _SOURCES[answer.source].inc()
            if answer.degraded:
                DEGRADED.inc()
        return answer

    def _state(self, placement: str) -> State:
        batch = None if self._stores is None else self._stores.live.by_placement.get(placement)
        batch_id = None if batch is None else batch.batch_id
        return State(batch_id, self.upkeep.number, self._catalogue.generation, self.placements.layer(placement))

    def _rules_of_batch(self, batch_id: int) -> RuleLayer | None:
        return None if self._stores is None else self._stores.live.rules.get(batch_id)

    @property
    def _catalogue(self) -> Catalogue:
        return self.upkeep.catalogue

    def _model(self, placement: str) -> str | int:
        config = self.placements.get(placement)
        return CHAMPION if config is None else config.model

    def _shows_more_than_due(self, placement: str) -> bool:
        config = self.placements.get(placement)
        return config is None or config.policy != "repurchase"

"""Answers what no batch can: anonymous visitors, new users, baskets, clicks, and placements that ask for it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext
from copy import copy
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from models.lists.rules.placement_config import Placement
from models.recommenders.explanations.sentences import NONE
from serving.answers.protocol import Entry, Hidden, Listing, ListRequest, LiveUnavailableError, RankRequest, Visitor
from serving.live.live_lists import VisitorState, items_that_go_with, ranked_items, similar_items, visitor_list
from serving.live.prepared_rules import CurrentCatalogue, ModelCatalogue, Prepared, RuleCache
from serving.live.visitor_facts import (
    NO_ACTS,
    NO_FACTS,
    BatchFacts,
    LatestItems,
    RecentClicks,
    SessionClicks,
    StoredUsers,
)
from serving.model.holder import ModelHolder
from serving.model.loaded_model import LoadedModel
from serving.stores.lists import Standing
from serving.stores.refresher import meanwhile

if TYPE_CHECKING:
    from serving.stores.stores import Stores

THREADS: Final = 2
WAITING: Final = 64
"""Requests that may wait for a thread; further ones are refused at once."""
_WITHHELD_SECONDS: Final = 10.0
"""The time for which items that a batch hides from everybody are not read again."""
_POLL_SECONDS: Final = 0.05
_Result = TypeVar("_Result")
_Build = Callable[[Prepared, VisitorState], tuple[Entry, ...] | None]


@dataclass(frozen=True)
class _Inputs:
    """What was read for a request."""

    model: LoadedModel
    batch: BatchFacts
    latest: LatestItems
    degraded: bool


class LiveListScorer:
    """Scores lists with the loaded champion, in a few threads."""

    def __init__(
        self,
        models: ModelHolder,
        placements: Mapping[str, Placement],
        catalogue: CurrentCatalogue | None = None,
        users: StoredUsers | None = None,
        clicks: RecentClicks | None = None,
        threads: int = THREADS,
        waiting: int = WAITING,
        known: ModelCatalogue | None = None,
    ) -> None:
        """Without catalogue, users and clicks, the bundle alone answers.

        A `known` catalogue that is aligned with its model is not aligned again.
        """
        self._models, self._placements = models, placements
        self._prepared_under: Mapping[str, Placement] | None = None
        """The placements that are prepared, if the own ones are not kept."""
        self._catalogue, self._users = catalogue or (lambda: None), users
        self._clicks, self._rules = clicks, RuleCache(known)
        self._threads = ThreadPoolExecutor(threads, "live", initializer=_use_one_processor)
        self._limit, self._running = threads + waiting, 0
        self._withheld: dict[str, tuple[frozenset[str], float]] = {}
        """What each placement hides from everybody, as far as it was read, and when."""

    def close(self) -> None:
        """End the threads after the requests that they work on."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._rules.close()

    def under(self, placements: Mapping[str, Placement]) -> "LiveListScorer":
        """Return a scorer of the same users with other placements, for few requests: only their rules are compiled."""
        other = copy(self)
        other._placements, other._prepared_under = placements, self._placements
        return other

    async def warm(self) -> None:
        """Prepare all placements; the first requests do not wait for it then."""
        for name, placement in self._placements.items():
            inputs = self._inputs_of_items()
            if placement.subject == "user":
                inputs = await self._inputs(name, ListRequest(name, Visitor(), placement.k))
            if inputs is not None:
                prepare = partial(self._prepared, inputs, name, placement, placement.k)
                await asyncio.get_running_loop().run_in_executor(self._rules.thread, prepare)

    def wanted(self, request: ListRequest) -> bool:
        """Return, without waiting, whether the request asks for what no batch knows."""
        placement = self._placements.get(request.placement)
        if placement is None or placement.subject != "user":
            return False
        if placement.live or request.context:
            return True
        return self._clicks is not None and self._clicks.maybe(request.visitor)

    async def hidden(self, request: ListRequest) -> Hidden:
        """Return what the placement hides from the visitor; if it cannot be read, what it hides from everybody."""
        name, user_key = request.placement, request.visitor.user_key
        withheld, read_at = self._withheld.get(name, (frozenset[str](), -_WITHHELD_SECONDS))
        if user_key is None and monotonic() - read_at < _WITHHELD_SECONDS:
            return Hidden(withheld, complete=True)
        batch = await self._facts(name, user_key)
        if batch is None:
            return Hidden(withheld, complete=False)
        return Hidden(frozenset((*batch.withheld, *batch.hidden)), complete=True)

    async def recommend(self, request: ListRequest, standing: Standing) -> Listing | None:
        """Return the visitor's list; None without a model, or for an unknown placement."""
        placement = self._placements.get(request.placement)
        if placement is None or placement.subject != "user":
            return None
        inputs = await self._inputs(request.placement, request)
        if inputs is None or (inputs.degraded and _needs_batch(placement)):
            return None

        return await self._run(partial(self._made, request, standing, placement, inputs))

    async def recommend_all(self, asked: Sequence[tuple[ListRequest, Standing]]) -> list[Listing | None]:
        """Return the lists of several users for one placement: the champion ranks them together, in one thread."""
        placement = self._placements[asked[0][0].placement]
        found = await asyncio.gather(*(self._inputs(request.placement, request) for request, _ in asked))
        usable = [
            (request, standing, inputs)
            for (request, standing), inputs in zip(asked, found, strict=True)
            if inputs is not None and not (inputs.degraded and _needs_batch(placement))
        ]

        def build() -> dict[ListRequest, Listing | None]:
            for model in {inputs.model for _, _, inputs in usable}:  # a promotion may arrive meanwhile
                keys = [one.visitor.user_key or "" for one, _, known in usable if known.latest.items or one.context]
                model.ranked[placement.policy].rank(keys)
            return {request: self._made(request, standing, placement, known) for request, standing, known in usable}

        lists = await self._run(build)
        return [lists.get(request) for request, _ in asked]

    async def similar(self, item: str, request: ListRequest, standing: Standing) -> Listing | None:
        """Return items that are similar to an item."""
        return await self._related(request, standing, lambda prepared, state: similar_items(prepared, state, item))

    async def goes_with(self, items: tuple[str, ...], request: ListRequest, standing: Standing) -> Listing | None:
        """Return items that go with all items of a basket."""
        return await self._related(request, standing, lambda made, state: items_that_go_with(made, state, items))

    async def rank(self, request: RankRequest, standing: Standing) -> Listing | None:
        """Return the given items in the visitor's order; items that the model does not know come last."""
        placement = self._placements.get(request.placement)
        asked = ListRequest(request.placement, request.visitor, len(request.items), context=request.context)
        inputs = None if placement is None else await self._inputs(request.placement, asked)
        if placement is None or inputs is None:
            return None

        def build(prepared: Prepared, visitor: VisitorState) -> tuple[Entry, ...]:
            return (*ranked_items(prepared, visitor, request.items), *self._unknown(prepared, request.items))

        return await self._run(partial(self._made, asked, standing, placement, inputs, build, placement.k))

    async def _related(self, request: ListRequest, standing: Standing, build: _Build) -> Listing | None:
        placement, inputs = self._placements.get(request.placement), self._inputs_of_items()
        if placement is None or inputs is None:
            return None
        return await self._run(partial(self._made, request, standing, placement, inputs, build))

    def _made(
        self,
        request: ListRequest,
        standing: Standing,
        placement: Placement,
        inputs: _Inputs,
        build: _Build = visitor_list,
        length: int | None = None,
    ) -> Listing | None:
        """Build a list under the placement's rules for lists of a length, by default up to the request's page."""
        prepared = self._prepared(inputs, request.placement, placement, length or request.offset + request.k)
        user = request.visitor.user_key
        visitor = VisitorState(user, inputs.batch, standing.excluded, request.context, inputs.latest, request.filters)
        built = build(prepared, visitor)
        return None if built is None else _listing(prepared, built, inputs, request)

    async def _inputs(self, placement: str, request: ListRequest) -> _Inputs | None:
        model = self._models.current()
        if model is None:
            return None
        batch, latest = await asyncio.gather(
            self._facts(placement, request.visitor.user_key), self._latest(request.visitor)
        )
        return _Inputs(model, batch or NO_FACTS, latest, degraded=batch is None)

    def _inputs_of_items(self) -> _Inputs | None:
        """Return the inputs of lists about items, which depend on no user."""
        model = self._models.current()
        return None if model is None else _Inputs(model, NO_FACTS, NO_ACTS, degraded=False)

    async def _facts(self, placement: str, user_key: str | None) -> BatchFacts | None:
        batch = NO_FACTS if self._users is None else await self._users.known(placement, user_key)
        if batch is not None:
            self._withheld[placement] = frozenset(batch.withheld), monotonic()
        return batch

    async def _latest(self, visitor: Visitor) -> LatestItems:
        latest, now = NO_ACTS if self._clicks is None else await self._clicks.items(visitor), self._catalogue()
        return latest if now is None or not now.products else latest.of_products(now)

    def _prepared(self, inputs: _Inputs, name: str, placement: Placement, length: int) -> Prepared:
        read = None if inputs.degraded else inputs.batch
        kept = placement if self._prepared_under is None else self._prepared_under[name]
        made = self._rules.prepared(inputs.model, self._catalogue(), name, kept, length, read)
        return made if kept is placement else made.under(placement)

    def _unknown(self, prepared: Prepared, items: tuple[str, ...]) -> list[Entry]:
        """Return the items that the catalogue has and the model does not know, in the given order."""
        now, learned = self._catalogue(), set(prepared.model.items[prepared.positions(items)].tolist())
        new = sorted(item for item in set(items) - learned if now is not None and item in now.sold)
        if now is None or not new:
            return []
        allowed = now.attributes(np.array(new)).allowed(prepared.placement.rules)
        offered = dict(zip(new, allowed.tolist(), strict=True))
        return [Entry(item, 0.0, NONE) for item in dict.fromkeys(items) if offered.get(item)]

    async def _run(self, work: Callable[[], _Result]) -> _Result:
        """Compute in a thread. Raises LiveUnavailableError if too many requests wait already."""
        if self._running >= self._limit:
            raise LiveUnavailableError("Too many live lists are being computed.")
        self._running += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._running -= 1


def _needs_batch(placement: Placement) -> bool:
    """Return whether lists without the batch's facts could show what the rules hide."""
    return placement.policy != "mix" or bool(placement.rules.hide)


def _listing(prepared: Prepared, built: tuple[Entry, ...], inputs: _Inputs, request: ListRequest) -> Listing:
    personal = request.visitor.user_key is not None or bool(inputs.latest.items)
    shown = built[: request.offset + request.k]
    bought = inputs.latest.bought if prepared.placement.policy == "repurchase" else frozenset[str]()
    version = prepared.model.model_version
    return Listing(shown, version, personal=personal, degraded=inputs.degraded, bought_since=bought)


def _use_one_processor() -> None:
    """Limit the libraries of this thread to one processor: requests share the processors among themselves."""
    from models.primitives.threads import limit_this_thread

    limit_this_thread()


@asynccontextmanager
async def live_scorer(
    models: ModelHolder,
    placements: Mapping[str, Placement],
    stores: "Stores | None" = None,
    known: ModelCatalogue | None = None,
    clicks: RecentClicks | None = None,
) -> AsyncIterator[LiveListScorer]:
    """Yield the live scorer; the champion follows promotions meanwhile. Without stores, the bundle alone answers.

    A `known` catalogue that is aligned with its model is not aligned again. By default it follows who clicked lately.

    Enter it before `stores.running()`, because listeners have to be there before the first change arrives.
    """
    if stores is None:
        scorer = LiveListScorer(models, placements)
        try:
            yield scorer
        finally:
            scorer.close()
        return
    stores.changes.on("promotions", models.notify)
    followed = SessionClicks(stores.requests, stores.background) if clicks is None else None
    catalogue = stores.catalogue
    scorer = LiveListScorer(
        models,
        placements,
        lambda: catalogue.current if catalogue.read else None,
        StoredUsers(stores.requests),
        clicks or followed,
        known=known,
    )
    models.start()
    try:
        async with (
            meanwhile(_warm(scorer, stores)),
            nullcontext() if followed is None else followed.running(stores.changes),
        ):
            yield scorer
    finally:
        await asyncio.to_thread(models.stop)
        scorer.close()


async def _warm(scorer: LiveListScorer, stores: "Stores") -> None:
    """Prepare all placements once the catalogue is known."""
    while not stores.catalogue.read:
        await asyncio.sleep(_POLL_SECONDS)
    await scorer.warm()

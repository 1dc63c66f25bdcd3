"""Puts the live scorer and its stores together, with a database or without."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Final

from models.lists.rules.placement_config import Placement
from serving.live.live_scorer import LiveListScorer
from serving.live.prepared_rules import ModelCatalogue
from serving.live.visitor_facts import RecentClicks, SessionClicks, StoredUsers
from serving.model.holder import ModelHolder
from serving.stores.refresher import meanwhile

if TYPE_CHECKING:
    from serving.stores.stores import Stores

_POLL_SECONDS: Final = 0.05


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

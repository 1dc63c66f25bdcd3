"""Puts the live scorer and its stores together, with a database or without."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from models.lists.rules.placement_config import Placement
from serving.live.live_scorer import LiveListScorer
from serving.live.session_clicks import SessionClicks
from serving.live.visitor_facts import StoredUsers
from serving.model.holder import ModelHolder
from serving.stores.stores import Stores


@asynccontextmanager
async def live_scorer(
    models: ModelHolder, placements: Mapping[str, Placement], stores: Stores | None = None
) -> AsyncIterator[LiveListScorer]:
    """Yield the live scorer; the champion follows promotions meanwhile. Without stores, the bundle alone answers.

    Enter it before `stores.running()`, because listeners have to be there when changes are heard first.
    """
    if stores is None:
        scorer = LiveListScorer(models, placements)
        try:
            yield scorer
        finally:
            scorer.close()
        return
    stores.changes.on("promotions", models.notify)
    clicks = SessionClicks(stores.requests, stores.background)
    catalogue = stores.catalogue
    scorer = LiveListScorer(
        models, placements, lambda: catalogue.current if catalogue.read else None, StoredUsers(stores.requests), clicks
    )
    models.start()
    try:
        async with clicks.running(stores.changes):
            yield scorer
    finally:
        models.stop()
        scorer.close()

"""Opens what rescoring needs: the champion, the catalogue and the rules, as the API has them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from infra.configuration.placements import configured
from infra.configuration.settings import Settings
from infra.database.engine import engine
from infra.services.database_access.logins import address
from serving.stores.database.postgres import pool_of

if TYPE_CHECKING:
    from serving.stream.rescoring.rescoring import Rescoring

_SECONDS: Final = 5.0
"""The time for a statement: nobody waits for an answer."""


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator["Rescoring | None"]:
    """Yield the rescoring of the placements with live lists; None if there are none."""
    live = {name: one for name, one in configured(settings).items() if one.live}
    if not live:
        yield None
        return
    # A consumer without live placements does without models, and their memory.
    from serving.live.assembly import live_scorer
    from serving.model.holder import ModelHolder
    from serving.model.promotions import NewestPromotion
    from serving.stores.lists.user_lists import PublishedLists
    from serving.stores.rules.layered_placements import LayeredPlacements
    from serving.stores.stores import Stores
    from serving.stream.rescoring.list_scorer import ListScorer, StoredClicks
    from serving.stream.rescoring.rescoring import Rescoring

    place = address(settings, "serving")
    database, stores = engine(place), Stores(place, request_seconds=_SECONDS)
    placements = LayeredPlacements(live, stores.rules)
    models = ModelHolder(NewestPromotion(database))
    clicks = StoredClicks(stores.requests)
    async with live_scorer(models, placements, stores, clicks=clicks) as scorer, stores.running():
        await asyncio.to_thread(models.open)
        lists = PublishedLists(stores.requests, stores.codes)
        # A list that a crash undoes comes again: so does the request for it, whose end commits later.
        pool = await pool_of(place, durable=False)
        try:
            yield Rescoring(pool, ListScorer(placements, scorer, lists, stores.catalogue, stores.rules))
        finally:
            pool.terminate()

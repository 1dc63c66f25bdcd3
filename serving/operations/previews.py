"""Builds a list under the current rules and under edited ones; nothing is stored or logged."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from models.lists.rules.layer.rule_layer import RuleLayer
from models.lists.rules.layer.rule_version import NO_VERSION
from models.lists.rules.placement_config import Placement
from serving.answers.answer import Answer
from serving.answers.interfaces import Models
from serving.answers.request import ListRequest
from serving.answers.service import AnswerService
from serving.live.live_scorer import LiveListScorer
from serving.operations.rule_changes import RuleChanges
from serving.stores.rules.layered_placements import FixedRules, LayeredPlacements
from serving.stores.stores import Stores


@dataclass(frozen=True)
class Preview:
    """Two answers to one request."""

    current: Answer
    edited: Answer | None
    """None if no edited rules were given."""


class Previews:
    """Answers requests as this server does, under any rules."""

    def __init__(self, models: Models, stores: Stores, live: LiveListScorer, changes: RuleChanges) -> None:
        """Use the parts of the server."""
        self._models, self._stores, self._live, self._changes = models, stores, live, changes

    async def preview(self, request: ListRequest, item: str | None, edited: RuleLayer | None) -> Preview:
        """Return the answer under the current rules, and under the edited ones. `item` is the subject of item lists.

        Raises RefusedLayerError for rules that could not be stored.
        """
        if edited is not None:
            await self._changes.check(edited)
        current = await self._answer(request, item, self._stores.rules.current.layer)
        return Preview(current, None if edited is None else await self._answer(request, item, edited))

    async def _answer(self, request: ListRequest, item: str | None, layer: RuleLayer) -> Answer:
        placement = self._changes.placements[request.placement]
        async with self._service(request.placement, placement, layer) as service:
            if item is None:
                return await service.recommend(request)
            if placement.method == "similarity":
                return await service.similar(item, request)
            return await service.goes_with((item,), request)

    @asynccontextmanager
    async def _service(self, name: str, placement: Placement, layer: RuleLayer) -> AsyncIterator[AnswerService]:
        """Yield a service for one placement, which is prepared before it is asked: live lists have little time."""
        rules = FixedRules(replace(NO_VERSION, layer=layer), self._stores.rules.now())
        placements = LayeredPlacements({name: placement}, rules)
        with self._live.under(placements) as live:
            service = AnswerService(self._models, placements, self._stores, live, counted=False)
            await service.upkeep.refresh()
            await live.warm()
            yield service

"""Builds a list under the current rules and under edited ones; nothing is stored or logged."""

import asyncio
from dataclasses import dataclass, replace

from models.lists.rules.layer.rule_layer import NO_VERSION, RuleLayer
from serving.answers.answer import Answer
from serving.answers.request import ListRequest
from serving.answers.service import AnswerService
from serving.live.live_scorer import LiveListScorer
from serving.operations.rule_changes import RuleChanges
from serving.stores.rules import FixedRules, LayeredPlacements, RuleReader


@dataclass(frozen=True)
class Preview:
    """Two answers to one request."""

    current: Answer
    edited: Answer | None
    """None if no edited rules were given."""


class Previews:
    """Answers requests as this server does, under any rules.

    The server's own best sellers and prepared lists are used again. Only what the rules change about one placement is
    built.
    """

    def __init__(self, answers: AnswerService, live: LiveListScorer, rules: RuleReader, changes: RuleChanges) -> None:
        """Use the parts of the server."""
        self._answers, self._live, self._rules, self._changes = answers, live, rules, changes

    async def preview(self, request: ListRequest, item: str | None, edited: RuleLayer | None) -> Preview:
        """Return the answer under the current rules, and under the edited ones. `item` is the subject of item lists.

        Raises RefusedLayerError for rules that could not be stored.
        """
        if edited is not None:
            await self._changes.check(edited)
        layers = [self._rules.current.layer, *(() if edited is None else (edited,))]
        current, *others = await asyncio.gather(*(self._answer(request, item, layer) for layer in layers))
        return Preview(current, next(iter(others), None))

    async def _answer(self, request: ListRequest, item: str | None, layer: RuleLayer) -> Answer:
        placement = self._changes.placements[request.placement]
        rules = FixedRules(replace(NO_VERSION, layer=layer), self._rules.now())
        placements = LayeredPlacements({request.placement: placement}, rules)
        service = self._answers.under(placements, self._live.under(placements), request.visitor)
        if item is None:
            return await service.recommend(request)
        if placement.method == "similarity":
            return await service.similar(item, request)
        return await service.goes_with((item,), request)

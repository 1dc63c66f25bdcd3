"""Brings lists that were made earlier under the present rules of operators."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from models.lists.rules.layer.rule_layer import RuleChange, RuleLayer, pins, reranked
from models.lists.rules.placement_config import Placement
from serving.answers.answer import Entry, Listing
from serving.answers.best_sellers import BestSellers
from serving.answers.search import Search
from serving.stores.catalogue import Catalogue
from serving.stores.rules import LayeredPlacements

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
        if search.hides is None or not shown:
            return shown
        hidden = await search.hides(search.request)
        search.degraded = search.degraded or not hidden.complete
        return shown - hidden.items


def _places(file: Placement, layer: RuleLayer) -> dict[str, int]:
    return {pin.item: pin.place for pin in pins(file, layer)}

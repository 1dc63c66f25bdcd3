"""Brings lists that were made earlier under the present rules of operators."""

from collections.abc import Callable
from dataclasses import replace
from math import prod

from models.lists.rules.layer.layered_placement import pins
from models.lists.rules.layer.reranking import RuleChange, reranked
from models.lists.rules.layer.rule_layer import ItemBoost, RuleLayer
from models.lists.rules.placement_config import Placement
from serving.answers.answer import Entry, Listing
from serving.answers.best_sellers import BestSellers
from serving.answers.search import Search
from serving.stores.catalogue import Catalogue, Item
from serving.stores.rules.layered_placements import LayeredPlacements

RulesOfBatch = Callable[[int], RuleLayer | None]
"""Returns the rules that a batch was made under; None for a batch that this process does not know yet."""


class PresentRules:
    """Moves the items of published and of remembered lists to where the present rules have them.

    Hidden items are left out of every answer by its selection.
    """

    def __init__(
        self,
        placements: LayeredPlacements,
        of_batch: RulesOfBatch,
        catalogue: Callable[[], Catalogue],
        best: Callable[[], BestSellers | None],
    ) -> None:
        """Take the rules of batches, the present catalogue and the present best sellers from these."""
        self._placements, self._of_batch, self._catalogue, self._best = placements, of_batch, catalogue, best

    async def published(self, search: Search, listing: Listing) -> Listing:
        """Return a list of a batch under the present rules."""
        now = self._placements.layer(search.request.placement)
        then = None if listing.batch_id is None else self._of_batch(listing.batch_id)
        return await self.reranked(search, listing, now if then is None else then)

    async def reranked(self, search: Search, listing: Listing, then: RuleLayer, page: range | None = None) -> Listing:
        """Return a list that was made under the rules `then`; with the places of a `page` it is that page."""
        name = search.request.placement
        now = self._placements.layer(name)
        if now == then or name not in self._placements.file:
            return listing
        change = _change(self._placements.file[name], then, now, self._catalogue())
        listed = {entry.item_id for entry in listing.entries}
        new = change.new_pins - listed
        insertable = await self._insertable(search, new) if new and listing.entries else new
        visible = [entry for entry in listing.entries if entry.item_id not in now.hidden]
        entries = tuple(map(Entry._make, reranked(visible, change, insertable, page)))
        return listing if entries == listing.entries else replace(listing, entries=entries)

    async def _insertable(self, search: Search, items: frozenset[str]) -> frozenset[str]:
        """Return the pinned items that the visitor may have, by the placement's rules and by earlier events."""
        name, best = search.request.placement, self._best()
        if self._placements[name].policy == "repurchase":
            return frozenset()  # only what is due is shown
        allowed = None if best is None else best.narrowed.get(name)
        shown = items if allowed is None else items & allowed
        if search.hides is None or not shown:
            return shown
        hidden = await search.hides(search.request)
        search.degraded = search.degraded or not hidden.complete
        return shown - hidden.items


def _change(file: Placement, then: RuleLayer, now: RuleLayer, catalogue: Catalogue) -> RuleChange:
    def factor(item_id: str) -> float:
        item = catalogue.by_id.get(item_id)
        return 1.0 if item is None else _factor(now, item) / _factor(then, item)

    return RuleChange(_places(file, then), _places(file, now), factor)


def _places(file: Placement, layer: RuleLayer) -> dict[str, int]:
    return {pin.item: pin.place for pin in pins(file, layer)}


def _factor(layer: RuleLayer, item: Item) -> float:
    return prod(boost.factor for boost in layer.boosts if _applies(boost, item))


def _applies(boost: ItemBoost, item: Item) -> bool:
    if boost.kind == "category":
        return item.below(boost.value)
    return boost.value == (item.item_id if boost.kind == "item" else item.brand)

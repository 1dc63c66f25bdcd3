"""Best sellers, trending and new items, which need nothing but memory, and their upkeep beside the answers."""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Container, Mapping
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from heapq import nsmallest
from time import monotonic
from typing import TYPE_CHECKING, Final, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.experiments.definition import replaced_placement
from models.lists.list_builder import ListBuilder
from models.lists.model_cascade import ModelCascade
from models.lists.rules.compiled_rules import CompiledRules, ItemAttributes
from models.lists.rules.placement_config import Placement, Rules, Selector
from models.primitives.vocabulary import NO_INDEX, index_of, position_of
from models.recommenders.baselines.segment_popular import ALL_USERS
from models.recommenders.explanations.sentences import CUSTOMERS, NONE, popular_reasons
from serving.answers.protocol import Entry, Filters, Listing
from serving.model.loaded_model import LoadedModel
from serving.stores.catalogue import Catalogue
from serving.stores.refresher import meanwhile
from serving.stores.rules import LayeredPlacements

if TYPE_CHECKING:
    from serving.model.holder import ModelHolder
    from serving.stores.stores import Stores

DEPTH: Final = 100
"""Items of each list: enough for pages, and after items that are sold out meanwhile."""
EVERYBODY: Final = ""
"""Stands for the best sellers of all users in place of a segment."""
_ONE: Final = np.array([EVERYBODY])
_Value = TypeVar("_Value")


@dataclass(frozen=True, eq=False)
class BestSellers:
    """The lists of one model under one catalogue. Building them takes tens of milliseconds."""

    model: LoadedModel
    catalogue: Catalogue
    attributes: ItemAttributes
    """Of the model's items."""
    builder: ListBuilder
    """Builds lists of best sellers, under the rules that it gets."""
    trending: Listing
    """Items with more buyers lately than before."""
    newest: Listing
    """Items by their appearance in the shop, the newest first."""
    placements: Mapping[str, Placement] = field(default_factory=dict)
    rules: Mapping[str, CompiledRules] = field(default_factory=dict)
    """The rules of each placement, with lists of `DEPTH`."""
    lists: Mapping[str, Mapping[str, Listing]] = field(default_factory=dict)
    """By placement, then by segment."""
    narrowed: Mapping[str, Container[str]] = field(default_factory=dict)
    """The items that each placement may show; without placements whose rules leave out no item of the catalogue."""

    @classmethod
    def build(cls, model: LoadedModel, catalogue: Catalogue, placements: Mapping[str, Placement]) -> Self:
        """Return the lists of all placements. A placement that shows only what is due has none."""
        attributes = catalogue.model_items(model.bundle.model.items).attributes
        bundle, nothing = model.bundle, CompiledRules.plain(DEPTH, attributes.available)
        builder = ListBuilder(ModelCascade(()), bundle.fallback, nothing, bundle.buyers)
        best = cls(model, catalogue, attributes, builder, _trending(model, attributes), _newest(model, catalogue))
        best.segment_of("")  # sorts the users now: the event loop must not
        return best.under(placements)

    def under(self, placements: Mapping[str, Placement], user_key: str | None = None) -> Self:
        """Return the lists of other placements; those of a placement that is the same are not built again.

        With a `user_key`, which is empty for visitors without an account, only the lists for that user are built.
        """
        changed = {name: one for name, one in placements.items() if self.placements.get(name) != one}
        rules = {
            name: CompiledRules.of(placement.model_copy(update={"k": max(DEPTH, placement.k)}), self.attributes)
            for name, placement in changed.items()
        }
        lists = {
            name: self._listings(rules[name], self._segments(placement, user_key))
            for name, placement in changed.items()
            if placement.policy != "repurchase"
        }
        kept = placements.keys() - changed
        return replace(
            self,
            placements=dict(placements),
            rules=rules | _of(kept, self.rules),
            lists=lists | _of(kept, self.lists),
            narrowed=_narrowed(self.catalogue, changed) | _of(kept, self.narrowed),
        )

    def listing(self, placement: str, segment: str = EVERYBODY) -> Listing | None:
        """Return the best sellers of a placement; None if it has none.

        Until those of a variant that just began are built, they are those of the placement that it replaces.
        """
        lists = self.lists.get(placement) or self.lists.get(replaced_placement(placement), {})
        return lists.get(segment)

    def segment_of(self, user_key: str) -> str:
        """Return the segment of a user by traits; that of everybody if it is unknown."""
        segments = self.model.bundle.segments
        at = NO_INDEX if segments is None else position_of(segments.users, user_key)
        if segments is None or at == NO_INDEX or segments.segment[at] <= ALL_USERS:
            return EVERYBODY
        return str(segments.names[segments.segment[at]])

    def filtered(self, placement: str, filters: Filters, k: int, segment: str = EVERYBODY) -> Listing | None:
        """Return the best `k` items that filters select; the event loop must not call it."""
        if placement not in self.lists:
            return None
        rules = self.rules[placement]
        allowed = rules.allowed & selected(self.attributes, filters)
        allowed &= ~np.isin(self.attributes.items, list(filters.exclude))
        narrowed = replace(rules, k=k, allowed=allowed, promoted_places=(), pins=())
        return self._listings(narrowed, np.array([segment])).get(segment)

    def joined(self, placement: str, first: Listing, listing: Listing) -> Listing:
        """Return a placement's best sellers with those of another list first; pinned items keep their places."""
        pinned = {str(self.attributes.items[at]) for _, at in self.rules[placement].pins}
        ordered = {one.item_id: one for one in (*first.entries, *listing.entries) if one.item_id not in pinned}
        entries = list(ordered.values())
        for place, entry in enumerate(listing.entries):
            if entry.item_id in pinned:
                entries.insert(place, entry)
        return replace(listing, entries=tuple(entries))

    def within(self, placement: str, listing: Listing) -> Listing:
        """Return the entries of a list that a placement may show."""
        allowed = self.narrowed.get(placement)
        if allowed is None:
            return listing
        return replace(listing, entries=tuple(entry for entry in listing.entries if entry.item_id in allowed))

    def _segments(self, placement: Placement, user_key: str | None) -> NDArray[np.str_]:
        """Return the segments with lists of their own, EVERYBODY first; only those of a user if one is given."""
        segments = self.model.bundle.segments
        if segments is None or placement.subject != "user":
            return _ONE
        return segments.names if user_key is None else np.array(sorted({EVERYBODY, self.segment_of(user_key)}))

    def _listings(self, rules: CompiledRules, keys: NDArray[np.str_]) -> dict[str, Listing]:
        """Return the best sellers of these segments, as batches build them for users without a score."""
        builder, model = self.builder.changed(rules=rules), self.model
        segments = model.bundle.segments
        if segments is not None and keys.tolist() != [EVERYBODY]:
            by_segment = replace(segments, users=keys, segment=index_of(segments.names, keys))
            builder = builder.changed(cascade=ModelCascade((by_segment,)))
        lists: dict[str, Listing] = {}
        for part in builder.build(keys):
            for key, items, scores, reasons in part.user_lists(model.bundle.model.items).values():
                rounded = [float(f"{score:.7g}") for score in scores]
                entries = tuple(map(Entry, items, rounded, reasons))
                lists[key] = Listing(entries, model.model_version, personal=key != EVERYBODY)
        return lists

    @property
    def sales(self) -> dict[str, float]:
        """Return the sales of each item."""
        bundle = self.model.bundle
        numbers = np.nan_to_num(bundle.fallback.astype(np.float64), posinf=0.0, neginf=0.0)
        return dict(zip(bundle.model.items.tolist(), numbers.tolist(), strict=True))


def _of(names: Collection[str], values: Mapping[str, _Value]) -> dict[str, _Value]:
    """Return the values of those of the names that have one."""
    return {name: values[name] for name in names if name in values}


def _trending(model: LoadedModel, attributes: ItemAttributes) -> Listing:
    """Return items with more buyers lately than their sales of a longer time predict, by standard deviations.

    The bundle counts both at the cut of the champion's data.
    """
    bundle = model.bundle
    buyers, sales = bundle.buyers.astype(np.float64), bundle.fallback.astype(np.float64)
    sales = np.where(np.isfinite(sales), np.maximum(sales, 0), 0) / (1.0 if bundle.season is None else bundle.season)
    expected = sales * (buyers.sum() / max(1.0, sales.sum()))
    surprise = (buyers - expected) / np.sqrt(np.maximum(expected, 1.0))
    ranked = np.where((buyers >= CUSTOMERS) & attributes.available, surprise, -np.inf)
    best = np.argsort(-ranked, kind="stable")[:DEPTH]
    items = best[np.isfinite(ranked[best])].astype(np.int32)
    rounded = [round(float(score), 4) for score in ranked[items]]
    entries = map(Entry, bundle.model.items[items].tolist(), rounded, popular_reasons(bundle.buyers, items))
    return Listing(tuple(entries), model.model_version)


def _newest(model: LoadedModel, catalogue: Catalogue) -> Listing:
    """Return items by their release, else by their first event or their first appearance in a catalogue.

    An item without a sale needs a stated stock, or is newer than all items of the model, or its appearance is not
    recorded. The first catalogue names its items at once, which is no date. Items need titles that are not made of
    their ids, if the catalogue has any.
    """
    items, begins = list(catalogue.by_id.values()), catalogue.times.begins
    seen = np.array([item.first_seen for item in items], dtype=np.float64)
    ids, events = model.bundle.model.items, model.bundle.first_events
    first = catalogue.of_model_items(ids, np.full(len(ids), np.inf) if events is None else events)
    sold = ~np.isnan(first)
    in_stock = np.array([item.in_stock is True for item in items], dtype=bool)
    unsold = ~sold & (in_stock | np.isneginf(seen) | (seen > seen[sold].max(initial=-np.inf)))
    seen[seen == seen.min(initial=np.inf)] = np.inf
    since = np.where(np.isfinite(begins), begins, np.fmin(first, seen))
    dated = np.isfinite(since)
    titled = np.array([item.title not in (None, "", f"Item {item.item_id}") for item in items], dtype=bool)
    listed = catalogue.offered & (np.isfinite(begins) | (sold & dated) | unsold) & (titled | ~titled.any())
    rows = np.flatnonzero(listed).tolist()
    ages = np.where(dated, -since, np.inf)[rows]
    latest = nsmallest(DEPTH, zip(ages.tolist(), (items[row].item_id for row in rows), strict=True))
    return Listing(tuple(Entry(name, 0.0, NONE) for _, name in latest), model.model_version)


def _narrowed(catalogue: Catalogue, placements: Mapping[str, Placement]) -> dict[str, Container[str]]:
    rules = {name: placement.rules for name, placement in placements.items()}
    narrowing = {name: own for name, own in rules.items() if own.include or own.exclude or own.exclude_items}
    if not narrowing:
        return {}
    # An item that operators hide everywhere narrows all placements, and most of them to the same items.
    keys = {name: str((own.include, own.exclude, own.exclude_items, own.lifetime_days)) for name, own in rules.items()}
    made = {key: _left(catalogue, own) for key, own in {keys[name]: own for name, own in narrowing.items()}.items()}
    return {name: made[keys[name]] for name in narrowing}


@dataclass(frozen=True, slots=True)
class _SoldExcept:
    """The items for sale without a few. A set of all others would take milliseconds, also to garbage collections."""

    sold: frozenset[str]
    hidden: frozenset[str]

    def __contains__(self, item_id: object) -> bool:
        return item_id in self.sold and item_id not in self.hidden


def _left(catalogue: Catalogue, rules: Rules) -> Container[str]:
    """Return the items for sale that rules do not leave out."""
    if not (rules.include or rules.exclude):  # operators hide single items
        return _SoldExcept(catalogue.sold, frozenset(rules.exclude_items))
    everything = catalogue.attributes()
    return frozenset(everything.items[everything.allowed(rules)].tolist())


def selected(attributes: ItemAttributes, filters: Filters) -> NDArray[np.bool_]:
    """Return [n] which items filters select by their values."""
    bounded = filters.lowest_price is not None or filters.highest_price is not None
    selector = Selector.model_construct(
        items=None,
        category=list(filters.categories) or None,
        brand=list(filters.brands) or None,
        price=(filters.lowest_price, filters.highest_price) if bounded else None,
    )
    return attributes.selected(selector)


_POLL_SECONDS: Final = 0.2
_SPACING_SECONDS: Final = 5.0
"""A catalogue that changes all the time is followed at this interval; what is sold out is left out at once."""
_EMPTY: Final = Catalogue.of({}, 0.0)
_log: Final = logging.getLogger(__name__)


class Upkeep:
    """The best sellers, of the newest champion that was built."""

    def __init__(
        self,
        models: "ModelHolder",
        placements: LayeredPlacements,
        stores: "Stores | None",
        known: BestSellers | None = None,
    ) -> None:
        """Follow these models, these placements and this catalogue, after `known` best sellers."""
        self._models, self._placements, self._stores = models, placements, stores
        self._built_under: Mapping[str, Placement] | None = None
        self._of_bundle: tuple[LoadedModel, Catalogue] | None = None
        self._built_at = 0.0
        self._edited: tuple[Mapping[str, Placement], str] | None = None
        """The placements for which nothing was built yet, and the key of their only user."""
        self.best = known
        self.number = 0
        """Counts how often best sellers were built."""

    @property
    def catalogue(self) -> Catalogue:
        """Return the newest catalogue; without a database, the items of the bundle."""
        if self._stores is not None and self._stores.catalogue.read:
            return self._stores.catalogue.current
        return _EMPTY if self._of_bundle is None else self._of_bundle[1]

    @property
    def sales(self) -> dict[str, float]:
        """Return the sales of each item that the champion knows; empty before the first one."""
        return {} if self.best is None else self.best.sales

    @property
    def digest(self) -> str:
        """Return the digest of the champion of the sales; empty before the first one."""
        return "" if self.best is None else self.best.model.bundle.digest

    def under(self, placements: LayeredPlacements, user_key: str) -> "Upkeep":
        """Return the same best sellers for one user under other placements; nothing keeps them current."""
        other = copy(self)
        other._edited = placements.snapshot, user_key
        return other

    async def present(self) -> BestSellers | None:
        """Return the best sellers. Under other placements, the first list that needs them waits until they are built.

        Most lists of a preview need none.
        """
        if self._edited is not None and self.best is not None:
            self.best, self._edited = await asyncio.to_thread(self.best.under, *self._edited), None
        return self.best

    async def refresh(self) -> None:
        """Build the best sellers again if the champion, the catalogue or a rule of operators is another one."""
        model = self._models.current()
        if model is None:
            return
        if self._stores is not None and self._stores.catalogue.read:
            self._of_bundle = None  # it is never needed again
        elif self._of_bundle is None or self._of_bundle[0] is not model:
            bundle = model.bundle
            self._of_bundle = (model, await asyncio.to_thread(Catalogue.of_model, bundle.model.items, bundle.available))
        catalogue, best = self.catalogue, self.best
        placements = self._placements.snapshot
        unchanged = best is not None and best.model is model and self._built_under is placements
        if best is not None and unchanged and best.catalogue is catalogue:
            return
        if unchanged and monotonic() - self._built_at < _SPACING_SECONDS:
            return
        if best is not None and best.model is model and best.catalogue is catalogue:
            self.best = await asyncio.to_thread(best.under, placements)
        else:
            self.best = await asyncio.to_thread(BestSellers.build, model, catalogue, placements)
        self._built_under = placements
        self.number += 1
        self._built_at = monotonic()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Refresh meanwhile; the first time before anything else."""
        await self._try()
        async with meanwhile(self._repeat()):
            yield

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            await self._try()

    async def _try(self) -> None:
        try:
            await self.refresh()
        except Exception:
            _log.exception("Best sellers could not be built; the ones before stay.")

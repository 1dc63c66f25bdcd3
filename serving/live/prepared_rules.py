"""Compiles a placement's rules once for each model, catalogue and batch, and narrows them for single requests."""

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Lock
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models.lists.list_builder import ListBuilder
from models.lists.model_cascade import build_cascade
from models.lists.rules.compiled_rules import CompiledRules, ItemAttributes
from models.lists.rules.placement_config import Placement
from models.primitives.vocabulary import positions_of
from models.recommenders.explanations.sentences import ReasonsNaming
from serving.answers.best_sellers import selected
from serving.answers.protocol import Filters
from serving.live.visitor_facts import NO_FACTS, BatchFacts
from serving.model.loaded_model import LoadedModel, RankedUsers
from serving.stores.catalogue import Catalogue

CurrentCatalogue = Callable[[], Catalogue | None]
"""Returns the newest catalogue; None while there is none, as on a host without a database."""
LONGEST: Final = 1000
_KEPT: Final = 64
"""Compiled rules that are kept: placements times lengths."""
_CATALOGUES: Final = 4
"""Beyond this number the rules of earlier catalogues and models are dropped: each keeps a whole one in memory."""


@dataclass(frozen=True, eq=False)
class ModelCatalogue:
    """The attributes of a model's items at one moment of the catalogue."""

    made_from: tuple[str, int]
    """The digest of the model, and the generation of the catalogue: 0 without one."""
    attributes: ItemAttributes
    """`available` is whether the item can be bought; ages are not known."""
    titles: NDArray[np.str_]
    """[n] empty if unknown."""
    not_for_sale: frozenset[str]
    """Titles of items that cannot be bought: no reason names them."""

    @classmethod
    def of(cls, model: LoadedModel, catalogue: Catalogue | None) -> Self:
        """Return the attributes in order of the model's items. Without a catalogue the bundle states them."""
        if catalogue is None:
            return cls((model.digest, 0), _of_bundle(model), titles_of(model), frozenset())
        known = catalogue.model_items(model.items)
        return cls((model.digest, catalogue.generation), known.attributes, known.titles, _not_for_sale(catalogue))


def _not_for_sale(catalogue: Catalogue) -> frozenset[str]:
    """Return the titles that no item for sale has."""
    titles = catalogue.titles
    hidden = np.ones(len(titles.texts), dtype=bool)
    hidden[titles.number[catalogue.offered]] = False
    return frozenset(titles.texts[number] for number in np.flatnonzero(hidden).tolist()) - {""}


def _of_bundle(model: LoadedModel) -> ItemAttributes:
    n = len(model.items)
    empty, unknown = np.full(n, "", dtype=np.str_), np.full(n, np.nan)
    return ItemAttributes(model.items, empty, empty, unknown, unknown, model.bundle.available)


def titles_of(model: LoadedModel) -> NDArray[np.str_]:
    """Return the titles that the model stores; empty ones if it stores none."""
    for part in (model.bundle.model, getattr(model.bundle.model, "why", None)):
        titles = getattr(part, "titles", None)
        if isinstance(titles, np.ndarray) and len(titles) == len(model.items):
            return titles
    return np.full(len(model.items), "", dtype=np.str_)


@dataclass(frozen=True, eq=False)
class Prepared:
    """Everything about a placement's live lists that does not depend on the visitor."""

    model: LoadedModel
    catalogue: ModelCatalogue
    offered: ItemAttributes
    """The attributes of the catalogue, with what the batch withholds as not available."""
    placement: Placement
    builder: ListBuilder
    not_to_show: ReasonsNaming
    """Reasons that name items which cannot be bought."""
    batch_id: int | None = None
    """The batch that withholds items."""

    @property
    def rules(self) -> CompiledRules:
        """The compiled rules."""
        return self.builder.rules

    @property
    def ranked(self) -> RankedUsers:
        """The model's candidates of users, by the head of the placement's policy."""
        return self.model.ranked[self.placement.policy]

    def under(self, placement: Placement) -> "Prepared":
        """Return the same lists under other rules of the placement."""
        other = _of_length(placement, self.placement.k)
        if _same(self.placement, other):
            return self
        builder = self.builder.changed(rules=CompiledRules.of(other, self.offered))
        return replace(self, placement=other, builder=builder)

    def warm(self) -> None:
        """Build a list for nobody, so that the first request does not wait for what is prepared on first use."""
        nobody = np.array([""])
        for _ in self.builder.build(nobody):
            pass

    def positions(self, items: tuple[str, ...]) -> NDArray[np.int32]:
        """Return the positions of those of the items that the model knows, in their order, each once."""
        return positions_of(self.model.items, list(dict.fromkeys(items)))

    def excluded(self, standing: tuple[str, ...]) -> NDArray[np.int32]:
        """Return the positions of excluded items; each exclusion is given as `kind:value`."""
        attributes, masks = self.catalogue.attributes, [np.empty(0, dtype=np.int64)]
        items = tuple(value for kind, _, value in (one.partition(":") for one in standing) if kind == "item")
        for kind, _, value in (one.partition(":") for one in standing):
            if kind == "category":
                masks.append(np.flatnonzero(attributes.below(value)))
            elif kind == "brand":
                masks.append(np.flatnonzero(attributes.brand == value))
        return np.concatenate([*masks, self.positions(items)]).astype(np.int32)

    def narrowed(self, filters: Filters, only: NDArray[np.bool_] | None = None) -> CompiledRules:
        """Return the rules with fewer items: those of the filters, and of `only` [n]."""
        allowed = self.rules.allowed if only is None else self.rules.allowed & only
        if filters.narrows:
            allowed = allowed & selected(self.catalogue.attributes, filters)
        return self.rules if allowed is self.rules.allowed else replace(self.rules, allowed=allowed)


class RuleCache:
    """The prepared placements.

    After a change of the model, the catalogue or the batch, they are prepared again in a thread of their own. Requests
    use the earlier ones meanwhile, and show nothing that cannot be bought or that the new batch withholds. Rules of
    operators count at once: the first request after their change prepares the placement, and others wait for it.
    """

    def __init__(self, known: ModelCatalogue | None = None) -> None:
        """Start without prepared placements. A `known` catalogue is not aligned with its model again."""
        self._catalogues = OrderedDict({} if known is None else {known.made_from: known})
        self._prepared: OrderedDict[tuple[str, int], tuple[_Inputs, Prepared]] = OrderedDict()
        self._compiling: set[tuple[str, int]] = set()
        self._lock, self._first = Lock(), Lock()
        self.thread = ThreadPoolExecutor(1, "rules")
        """Prepares placements, one at a time."""

    def close(self) -> None:
        """End the thread."""
        self.thread.shutdown(wait=True, cancel_futures=True)

    def prepared(
        self,
        model: LoadedModel,
        now: Catalogue | None,
        name: str,
        placement: Placement,
        length: int,
        read: BatchFacts | None,
    ) -> Prepared:
        """Return a placement's rules for lists of `length` items at least.

        Facts that could not be `read` are no reason to prepare them again: a busy machine would do nothing else.
        """
        k, batch = min(LONGEST, placement.k * -(-max(1, length) // placement.k)), read or NO_FACTS
        generation = 0 if now is None else now.generation
        inputs = _Inputs(model.digest, model.promotion_id, generation, batch.batch_id, placement)
        with self._lock:
            known = self._prepared.get((name, k))
            if known is not None and _same(known[0].placement, placement):
                self._prepared.move_to_end((name, k))
                if read is not None and known[0] != inputs and (name, k) not in self._compiling:
                    self._compiling.add((name, k))
                    self.thread.submit(self._prepare, (name, k), inputs, model, now, placement, batch)
                return known[1]
        with self._first:  # threads that need the same rules wait for those that are being prepared
            known = self._prepared.get((name, k))
            if known is not None and _same(known[0].placement, placement):
                return known[1]
            return self._prepare((name, k), inputs, model, now, placement, batch)

    def _prepare(
        self,
        key: tuple[str, int],
        inputs: "_Inputs",
        model: LoadedModel,
        now: Catalogue | None,
        placement: Placement,
        batch: BatchFacts,
    ) -> Prepared:
        try:
            made = _compiled(model, self._aligned(inputs, model, now), placement, key[1], batch)
            made.warm()
            with self._lock:
                self._prepared[key] = inputs, made
                self._drop_outdated()
            return made
        finally:
            self._compiling.discard(key)

    def _aligned(self, inputs: "_Inputs", model: LoadedModel, now: Catalogue | None) -> ModelCatalogue:
        key = inputs.digest, inputs.generation
        made = self._catalogues.get(key)
        if made is None:
            made = ModelCatalogue.of(model, now)
            with self._lock:
                self._catalogues[key] = made
                while len(self._catalogues) > _CATALOGUES:
                    self._catalogues.popitem(last=False)
        return made

    def _drop_outdated(self) -> None:
        """Drop what was not used for longest, and what was prepared from a catalogue that is no longer kept."""
        while len(self._prepared) > _KEPT:
            self._prepared.popitem(last=False)
        for key, (inputs, _) in list(self._prepared.items()):
            if (inputs.digest, inputs.generation) not in self._catalogues:
                del self._prepared[key]


class _Inputs(NamedTuple):
    """What a placement is prepared from."""

    digest: str
    promotion_id: int | None
    generation: int
    """Of the catalogue; 0 without one."""
    batch_id: int | None
    placement: Placement
    """With the rules of operators that count now."""


def _same(one: Placement, other: Placement) -> bool:
    return one is other or one == other


def _of_length(placement: Placement, k: int) -> Placement:
    return placement if k == placement.k else placement.model_copy(update={"k": k})


def _compiled(
    model: LoadedModel, catalogue: ModelCatalogue, placement: Placement, k: int, batch: BatchFacts
) -> Prepared:
    longer = _of_length(placement, k)
    available = catalogue.attributes.available.copy()
    available[positions_of(model.items, batch.withheld)] = False
    offered = replace(catalogue.attributes, available=available)
    bundle = model.bundle
    cascade = build_cascade(bundle.model, bundle.segments, bundle.fallback, policy=placement.policy)
    builder = ListBuilder(cascade, bundle.fallback, CompiledRules.of(longer, offered), bundle.buyers)
    reasons = ReasonsNaming(catalogue.not_for_sale)
    return Prepared(model, catalogue, offered, longer, builder, reasons, batch.batch_id)

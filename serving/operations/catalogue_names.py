"""Looks up the names that rules use in the catalogue."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.columns import CATEGORY_SEPARATOR
from models.lists.rules.item_attributes import ItemAttributes
from models.lists.rules.layer.rule_layer import BoostKind, RuleLayer
from models.primitives.vocabulary import index_of
from serving.stores.catalogue import Catalogue


class CatalogueNames:
    """The items, categories and brands of a catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        """Look in this catalogue."""
        self._items = catalogue.by_id

    def has(self, kind: BoostKind, value: str) -> bool:
        """Return whether there is such an item, category or brand."""
        if kind == "item":
            return value in self._items
        return value in (self._brands if kind == "brand" else self._categories)

    @cached_property
    def _brands(self) -> frozenset[str]:
        return frozenset(item.brand for item in self._items.values()) - {""}

    @cached_property
    def _categories(self) -> frozenset[str]:
        """All paths and their beginnings by whole levels."""
        found: set[str] = set()
        for path in {item.category for item in self._items.values()} - {""}:
            levels = path.split(CATEGORY_SEPARATOR)
            found.update(CATEGORY_SEPARATOR.join(levels[:depth]) for depth in range(1, len(levels) + 1))
        return frozenset(found)


def named_items(catalogue: Catalogue, layer: RuleLayer) -> ItemAttributes:
    """Return the attributes of the items that a layer names, as far as the catalogue has them."""
    return catalogue.attributes(np.array(sorted(layer.items & catalogue.by_id.keys()), dtype=np.str_))


def unlearned_items(learned: NDArray[np.str_], layer: RuleLayer) -> frozenset[str]:
    """Return the items that a layer names and the champion, which `learned` others, does not have."""
    named = np.array(sorted(layer.items), dtype=np.str_)
    return frozenset(named[index_of(learned, named) < 0].tolist())

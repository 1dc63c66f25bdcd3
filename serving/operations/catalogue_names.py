"""Looks up the names that rules use in the catalogue."""

import numpy as np

from models.lists.rules.item_attributes import ItemAttributes
from models.lists.rules.layer.rule_layer import BoostKind, RuleLayer
from serving.stores.catalogue import Catalogue


class CatalogueNames:
    """The items, categories and brands of a catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        """Look in this catalogue."""
        self._catalogue = catalogue

    def has(self, kind: BoostKind, value: str) -> bool:
        """Return whether there is such an item, category or brand."""
        if kind == "item":
            return value in self._catalogue.by_id
        return value in (self._catalogue.brands if kind == "brand" else self._catalogue.categories)


def named_items(catalogue: Catalogue, layer: RuleLayer) -> ItemAttributes:
    """Return the attributes of the items that a layer names, as far as the catalogue has them."""
    return catalogue.attributes(np.array(sorted(layer.items & catalogue.by_id.keys()), dtype=np.str_))

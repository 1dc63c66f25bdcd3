"""The attributes of items that live rules need, aligned with a model's items."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from models.lists.rules.item_attributes import ItemAttributes
from serving.model.loaded_model import LoadedModel
from serving.stores.catalogue import Catalogue

CurrentCatalogue = Callable[[], Catalogue | None]
"""Returns the newest catalogue; None while there is none, as on a host without a database."""


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
        attributes = catalogue.attributes_of_model(model.items)
        titles = catalogue.titles_of_model(model.items)
        return cls((model.digest, catalogue.generation), attributes, titles, _not_for_sale(catalogue))


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

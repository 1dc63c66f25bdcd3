"""The attributes of items that live rules need, aligned with a model's items."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from models.lists.rules.item_attributes import ItemAttributes
from serving.model.loaded_model import LoadedModel


@dataclass(frozen=True, eq=False)
class ItemFacts:
    """What the catalogue states of its items now."""

    version: object
    """Another value whenever anything below has changed."""
    attributes: ItemAttributes
    """`available` is whether the item can be bought now; ages are not known."""
    titles: NDArray[np.str_]
    """[n] empty if unknown."""

    @classmethod
    def of(cls, version: object, rows: Sequence["ItemRow"]) -> Self:
        """Return the facts of a catalogue's rows in any order."""
        ordered = sorted(rows, key=lambda row: row.item_id)
        n = len(ordered)
        attributes = ItemAttributes(
            items=_texts(row.item_id for row in ordered),
            category=_texts(row.category for row in ordered),
            brand=_texts(row.brand for row in ordered),
            price=np.array([np.nan if row.price is None else row.price for row in ordered], dtype=np.float64),
            age_days=np.full(n, np.nan),
            available=np.array([row.on_sale for row in ordered], dtype=bool),
        )
        return cls(version, attributes, _texts(row.title for row in ordered))


class ItemRow(NamedTuple):
    """An item of the catalogue."""

    item_id: str
    title: str | None
    category: str | None
    brand: str | None
    price: float | None
    on_sale: bool
    """Whether it can be bought now: merchandise, in stock as far as is known, released, and not past its end."""


def _texts(values: Iterable[str | None]) -> NDArray[np.str_]:
    return np.array([value or "" for value in values], dtype=np.str_)


class CatalogueFacts(Protocol):
    """The newest snapshot of the catalogue."""

    def facts(self) -> ItemFacts | None:
        """Return it; None while there is none, as on a host without a database."""


class NoCatalogue:
    """A host without a database: the bundle states which items are available."""

    def facts(self) -> None:
        """Return that there is no catalogue."""


@dataclass(frozen=True, eq=False)
class ModelCatalogue:
    """The attributes of a model's items."""

    version: object
    attributes: ItemAttributes
    titles: NDArray[np.str_]
    not_for_sale: frozenset[str]
    """Titles of items that cannot be bought: no reason names them."""

    @classmethod
    def of(cls, model: LoadedModel, facts: ItemFacts | None) -> Self:
        """Return the facts in order of the model's items. Items that the catalogue lacks are not available."""
        items = model.items
        if facts is None:
            return cls(None, _of_bundle(model), _titles_of(model), frozenset())
        known = facts.attributes
        at = np.minimum(np.searchsorted(known.items, items), max(0, len(known.items) - 1))
        found = known.items[at] == items if len(known.items) else np.zeros(len(items), dtype=bool)
        attributes = ItemAttributes(
            items=items,
            category=_taken(known.category, at, found, ""),
            brand=_taken(known.brand, at, found, ""),
            price=_taken(known.price, at, found, np.nan),
            age_days=np.full(len(items), np.nan),
            available=_taken(known.available, at, found, False),
        )
        offered = set(facts.titles[known.available].tolist())
        hidden = frozenset(set(facts.titles[~known.available].tolist()) - offered - {""})
        return cls(facts.version, attributes, _taken(facts.titles, at, found, ""), hidden)


def _taken(values: NDArray[Any], at: NDArray[np.intp], found: NDArray[np.bool_], otherwise: object) -> NDArray[Any]:
    if not len(values):
        return np.full(len(at), otherwise, dtype=values.dtype)
    return np.where(found, values[at], np.array(otherwise, dtype=values.dtype))


def _of_bundle(model: LoadedModel) -> ItemAttributes:
    n = len(model.items)
    empty, unknown = np.full(n, "", dtype=np.str_), np.full(n, np.nan)
    return ItemAttributes(model.items, empty, empty, unknown, unknown, model.bundle.available)


def _titles_of(model: LoadedModel) -> NDArray[np.str_]:
    """Return the titles that the model stores; empty ones if it stores none."""
    for part in (model.bundle.model, getattr(model.bundle.model, "why", None)):
        titles = getattr(part, "titles", None)
        if isinstance(titles, np.ndarray) and len(titles) == len(model.items):
            return titles
    return np.full(len(model.items), "", dtype=np.str_)

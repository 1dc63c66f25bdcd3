"""The catalogue in memory: what answers show of an item, and whether it can be bought now."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from math import isfinite
from typing import Any, Final, NamedTuple, Self

import numpy as np
import orjson
from numpy.typing import NDArray

from models.columns import CATEGORY_SEPARATOR
from models.lists.rules.item_attributes import ItemAttributes

_GENERATIONS: Final = count(1)
_ALWAYS: Final = (-np.inf, np.inf)
_SHOWN_FIELDS: Final = 6
"""The first fields of `Item` are shown."""


class Item(NamedTuple):
    """One item of the catalogue."""

    item_id: str
    title: str | None
    url: str | None
    image: str | None
    price: float | None
    currency: str | None
    category: str
    """The path, the most general level first; empty if unknown."""
    brand: str
    """Empty if unknown."""
    merchandise: bool
    in_stock: bool
    available_from: float
    """Epoch seconds; -inf without a beginning."""
    available_until: float

    def sold_at(self, moment: float) -> bool:
        """Return whether the item can be bought at a moment in epoch seconds."""
        return self.merchandise and self.in_stock and self.available_from <= moment < self.available_until

    def below(self, path: str) -> bool:
        """Return whether the item has this category, or one below it."""
        return self.category == path or self.category.startswith(path + CATEGORY_SEPARATOR)


_UNKNOWN: Final = Item("", None, None, None, None, None, "", "", False, False, *_ALWAYS)
"""Stands for an item that the catalogue lacks."""


@dataclass(frozen=True, eq=False)
class Catalogue:
    """All items at one moment. A changed catalogue is a new object with a higher generation."""

    by_id: dict[str, Item]
    sold: frozenset[str]
    """The items that can be bought at the moment of this catalogue."""
    moment: float
    """In epoch seconds."""
    generation: int = field(default_factory=lambda: next(_GENERATIONS))
    _shown: dict[str, bytes] = field(default_factory=dict, repr=False)
    """JSON of the items that were shown, as far as it is the same in all answers."""
    _of_model: dict[int, ItemAttributes] = field(default_factory=dict, repr=False)
    """The attributes of a model's items, by the address of the array, which they hold."""

    @classmethod
    def of(cls, items: dict[str, Item], moment: float) -> Self:
        """Return the catalogue of these items at a moment in epoch seconds."""
        return cls(items, frozenset(name for name, item in items.items() if item.sold_at(moment)), moment)

    @classmethod
    def of_model(cls, items: NDArray[np.str_], available: NDArray[np.bool_]) -> Self:
        """Return the items of a model without their titles, for servers without a database."""
        none = None, None, None, None, None
        known = {
            name: Item(name, *none, "", "", offered, True, *_ALWAYS)
            for name, offered in zip(items.tolist(), available.tolist(), strict=True)
        }
        return cls.of(known, 0.0)

    def shown_json(self, item: Item) -> bytes:
        """Return the JSON of an item's shown fields, without the closing brace: scores and ranks follow."""
        known = self._shown.get(item.item_id)
        if known is None:
            shown = {name: getattr(item, name) for name in Item._fields[:_SHOWN_FIELDS]}
            known = self._shown[item.item_id] = orjson.dumps(shown)[:-1]
        return known

    def at(self, moment: float) -> "Catalogue":
        """Return the catalogue at a later moment: the same object if the same items can be bought."""
        before, after = np.searchsorted(self._dates, (self.moment, moment), side="right").tolist()
        if before == after:
            return self
        sold = frozenset(name for name, item in self.by_id.items() if item.sold_at(moment))
        if sold == self.sold:
            return self
        return replace(self, sold=sold, moment=moment, generation=next(_GENERATIONS), _of_model={})

    @cached_property
    def _dates(self) -> NDArray[np.float64]:
        """The moments at which the sale of an item begins or ends, ascending."""
        offered = (item for item in self.by_id.values() if item.merchandise and item.in_stock)
        dates = {date for item in offered for date in item[-2:] if isfinite(date)}
        return np.array(sorted(dates), dtype=np.float64)

    @cached_property
    def items(self) -> NDArray[np.str_]:
        """All item ids, sorted."""
        return np.array(sorted(self.by_id), dtype=np.str_)

    @cached_property
    def brands(self) -> frozenset[str]:
        """All brands."""
        return frozenset(item.brand for item in self.by_id.values()) - {""}

    @cached_property
    def categories(self) -> frozenset[str]:
        """All paths and their beginnings by whole levels."""
        found: set[str] = set()
        for path in {item.category for item in self.by_id.values()} - {""}:
            levels = path.split(CATEGORY_SEPARATOR)
            found.update(CATEGORY_SEPARATOR.join(levels[:depth]) for depth in range(1, len(levels) + 1))
        return frozenset(found)

    @cached_property
    def _attributes(self) -> ItemAttributes:
        return self._attributes_of(self.items)

    def attributes(self, items: NDArray[np.str_] | None = None) -> ItemAttributes:
        """Return the attributes of these items, or of all; an item that the catalogue lacks is not available.

        It takes tens of milliseconds for a hundred thousand items, so the event loop must not call it.
        """
        return self._attributes if items is None else self._attributes_of(items)

    def _attributes_of(self, items: NDArray[np.str_]) -> ItemAttributes:
        names: list[str] = items.tolist()
        rows = [self.by_id.get(name, _UNKNOWN) for name in names]
        return ItemAttributes(
            items=items,
            category=np.array([item.category for item in rows], dtype=np.str_),
            brand=np.array([item.brand for item in rows], dtype=np.str_),
            price=np.array([item.price for item in rows], dtype=np.float64),  # None becomes NaN
            age_days=np.full(len(rows), np.nan),
            available=np.array([name in self.sold for name in names], dtype=np.bool_),
        )

    def attributes_of_model(self, items: NDArray[np.str_]) -> ItemAttributes:
        """Return the attributes of a model's items, which several parts of a server need."""
        known = self._of_model.get(id(items))
        if known is None:
            known = self.attributes(items)
            self._of_model.clear()  # those of an earlier model
            self._of_model[id(items)] = known
        return known


def items_of(rows: Sequence[Any]) -> dict[str, Item]:
    """Return the items of the rows of `catalogue_reader`, which have the columns of `Item`."""
    return {item[0]: item for item in map(Item._make, rows)}

"""The catalogue in memory: what answers show of an item, whether it can be bought now, and what reads it."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import compress, count
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np
import orjson
from numpy.typing import NDArray

from models.columns import CATEGORY_SEPARATOR, VARIANT_IDS
from models.lists.rules.compiled_rules import ItemAttributes
from models.primitives.distinct import distinct

if TYPE_CHECKING:
    from serving.stores.postgres import Postgres


_GENERATIONS: Final = count(1)
_ALWAYS: Final = (-np.inf, np.inf)
_SHOWN_FIELDS: Final = 6
"""The first fields of `Item` are shown."""
_NEVER: Final = (np.inf, -np.inf)
_ROWS_SINCE: Final = f"""
SELECT item_id, title, url, image, price, currency, coalesce(category, ''), coalesce(brand, ''), available,
       in_stock, coalesce(extract(epoch FROM available_from)::float8, '-infinity'),
       coalesce(extract(epoch FROM available_until)::float8, 'infinity'),
       coalesce(extract(epoch FROM first_seen_at)::float8, '-infinity'), price_paid, currency_paid,
       items.attributes ->> '{VARIANT_IDS}'
FROM items LEFT JOIN item_appearances USING (item_id) WHERE items.xmin::text::bigint >= $1
"""
_STATE: Final = """
SELECT count(*), extract(epoch FROM clock_timestamp())::float8, pg_snapshot_xmin(pg_current_snapshot())::text::bigint
FROM items
"""
_EPOCH: Final = 1 << 32
"""Transaction ids on rows have 32 bits; a row of an earlier epoch may have a higher one."""


@dataclass(frozen=True, eq=False)
class SaleTimes:
    """From when until when each of n items can be bought, in epoch seconds.

    They are arrays because a look at each item takes as long as the rest of a refresh.
    """

    begins: NDArray[np.float64]
    """[n] -inf without a beginning; inf for items that are no goods, or not in stock."""
    ends: NDArray[np.float64]

    @classmethod
    def of(cls, items: "Iterable[Item]") -> Self:
        """Return the times of these items."""
        times = [
            (item.available_from, item.available_until) if item.merchandise and item.in_stock is not False else _NEVER
            for item in items
        ]
        begins, ends = np.array(times, dtype=np.float64).reshape(-1, 2).T.copy()
        return cls(begins, ends)

    def sold_at(self, moment: float) -> NDArray[np.bool_]:
        """Return whether each item can be bought at a moment."""
        sold: NDArray[np.bool_] = (self.begins <= moment) & (moment < self.ends)
        return sold

    def differ(self, before: float, after: float) -> bool:
        """Return whether the sale of an item begins or ends between two moments."""
        first, last = np.searchsorted(self._dates, (before, after), side="right").tolist()
        return bool(first != last)

    @cached_property
    def _dates(self) -> NDArray[np.float64]:
        dates = np.concatenate([self.begins, self.ends])
        return distinct(dates[np.isfinite(dates)])


@dataclass(frozen=True, eq=False)
class RepeatedTexts:
    """The texts of n items, each kept once: arrays of all items are then made without looking at each text."""

    texts: Sequence[str]
    """Each text once; the last one is empty, and stands for unknown items."""
    number: NDArray[np.int32]
    """[n] the place of each item's text in `texts`."""

    @classmethod
    def of(cls, texts: Sequence[str | None]) -> Self:
        """Return the texts of n items; None counts as an empty text."""
        numbers = defaultdict[str | None, int](count().__next__)
        number = np.fromiter(map(numbers.__getitem__, texts), dtype=np.int32, count=len(texts))
        return cls([*(text or "" for text in numbers), ""], number)

    def of_rows(self, rows: NDArray[np.int64]) -> NDArray[np.str_]:
        """Return the texts of the items in these rows; that of row -1 is empty."""
        texts: NDArray[np.str_] = np.array(self.texts, dtype=np.str_)[np.append(self.number, -1)[rows]]
        return texts


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
    in_stock: bool | None
    """None if it is unknown, which counts as in stock."""
    available_from: float
    """Epoch seconds; -inf without a beginning."""
    available_until: float
    first_seen: float = -np.inf
    """When a catalogue or an event first named the item; -inf if unknown."""
    price_paid: float | None = None
    """The median price of a piece; None for an item without purchases."""
    currency_paid: str | None = None
    variant_ids: str | None = None
    """The ids of its variants, a line each."""

    def below(self, path: str) -> bool:
        """Return whether the item has this category, or one below it."""
        return self.category == path or self.category.startswith(path + CATEGORY_SEPARATOR)


@dataclass(frozen=True, eq=False)
class Catalogue:
    """All items at one moment. A changed catalogue is a new object with a higher generation."""

    by_id: dict[str, Item]
    sold: frozenset[str]
    """The items that can be bought at the moment of this catalogue."""
    moment: float
    """In epoch seconds."""
    times: SaleTimes
    """When each item can be bought, in the order of `by_id`."""
    products: Mapping[str, str] = field(default_factory=dict)
    """The item of each variant."""
    generation: int = field(default_factory=lambda: next(_GENERATIONS))
    _shown: dict[str, bytes] = field(default_factory=dict, repr=False)
    """JSON of the items that were shown, as far as it is the same in all answers."""
    _of_model: "dict[int, ModelItems]" = field(default_factory=dict, repr=False)
    """What is known of a model's items, by the address of the array, which their attributes hold."""

    @classmethod
    def of(cls, items: dict[str, Item], moment: float) -> Self:
        """Return the catalogue of these items at a moment in epoch seconds."""
        times = SaleTimes.of(items.values())
        return cls(items, _sold(items, times, moment), moment, times, _products(items))

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
        if not self.times.differ(self.moment, moment):
            return self
        sold = _sold(self.by_id, self.times, moment)
        if sold == self.sold:
            return self
        return replace(self, sold=sold, moment=moment, generation=next(_GENERATIONS), _of_model={})

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

    def product(self, item_id: str) -> str:
        """Return the item of a variant; every other id stays as it is."""
        return self.products.get(item_id, item_id)

    def products_of(self, items: Iterable[str]) -> tuple[str, ...]:
        """Return items with the item of each variant in its place, each once."""
        return tuple(dict.fromkeys(map(self.product, items)))

    def has(self, kind: str, value: str) -> bool:
        """Return whether there is such an item, category or brand."""
        if kind == "item":
            return value in self.by_id
        return value in (self.brands if kind == "brand" else self.categories)

    @cached_property
    def titles(self) -> RepeatedTexts:
        """The titles in the order of `by_id`."""
        return RepeatedTexts.of([item.title for item in self.by_id.values()])

    @cached_property
    def offered(self) -> NDArray[np.bool_]:
        """Whether each item can be bought, in the order of `by_id`."""
        return self.times.sold_at(self.moment)

    @cached_property
    def _attributes(self) -> ItemAttributes:
        return self._attributes_of(self.items, self._rows(self.items))

    def attributes(self, items: NDArray[np.str_] | None = None) -> ItemAttributes:
        """Return the attributes of these items, or of all; an item that the catalogue lacks is not available.

        It takes tens of milliseconds for a hundred thousand items, so the event loop must not call it.
        """
        if items is None:
            return self._attributes
        found = {name: item for name in items.tolist() if (item := self.by_id.get(name))}
        some = replace(self, by_id=found, times=SaleTimes.of(found.values()))
        return some._attributes_of(items, some._rows(items))

    def of_model_items(self, items: NDArray[np.str_], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the value of each item in the order of `by_id`, by the values of a model's items; else NaN."""
        result = np.full(len(self.by_id) + 1, np.nan)
        result[self.model_items(items).rows] = values
        return result[:-1]

    def model_items(self, items: NDArray[np.str_]) -> "ModelItems":
        """Return what is known of a model's items, which several parts of a server need."""
        known = self._of_model.get(id(items))
        if known is None:
            rows = self._rows(items)
            known = ModelItems(rows, self._attributes_of(items, rows), self.titles.of_rows(rows))
            self._of_model.clear()  # those of an earlier model
            self._of_model[id(items)] = known
        return known

    def _attributes_of(self, items: NDArray[np.str_], rows: NDArray[np.int64]) -> ItemAttributes:
        all_items = self.by_id.values()
        return ItemAttributes(
            items=items,
            category=RepeatedTexts.of([item.category for item in all_items]).of_rows(rows),
            brand=RepeatedTexts.of([item.brand for item in all_items]).of_rows(rows),
            price=np.array([*(item.price for item in all_items), None], dtype=np.float64)[rows],  # None becomes NaN
            age_days=np.full(len(rows), np.nan),
            available=np.append(self.offered, False)[rows],
        )

    def _rows(self, items: NDArray[np.str_]) -> NDArray[np.int64]:
        """Return the places of these items in the order of `by_id`, and -1 for items that the catalogue lacks."""
        row = dict(zip(self.by_id, range(len(self.by_id)), strict=True))
        return np.array([row.get(name, -1) for name in items.tolist()], dtype=np.int64)


class ModelItems(NamedTuple):
    """What the catalogue knows of a model's items."""

    rows: NDArray[np.int64]
    """[n] their places in the order of `by_id`; -1 for unknown ones."""
    attributes: ItemAttributes
    titles: NDArray[np.str_]


def _sold(items: dict[str, Item], times: SaleTimes, moment: float) -> frozenset[str]:
    return frozenset(compress(items, times.sold_at(moment).tolist()))


def _products(items: Mapping[str, Item]) -> dict[str, str]:
    """Return the item of each variant, as ingests do: an id of two items, or of an item itself, is left out."""
    pairs = {
        (variant, item.item_id)
        for item in items.values()
        if item.variant_ids
        for variant in item.variant_ids.split("\n")
        if variant and variant not in items
    }
    named = Counter(variant for variant, _ in pairs)
    return {variant: item for variant, item in pairs if named[variant] == 1}


def items_of(rows: Sequence[Any]) -> dict[str, Item]:
    """Return the items of the rows of `catalogue_reader`, which have the columns of `Item`."""
    return {item[0]: item for item in map(Item._make, rows)}


class KnownCatalogue(NamedTuple):
    """A catalogue that was read before."""

    catalogue: Catalogue
    floor: int
    """Rows that a transaction from here on wrote may be new."""


class CatalogueReader:
    """Holds the newest catalogue that was read."""

    def __init__(self, postgres: "Postgres", known: KnownCatalogue | None = None) -> None:
        """Read through these connections, after a `known` catalogue only changes."""
        self._postgres = postgres
        self.current, self._floor = known or KnownCatalogue(Catalogue.of({}, 0.0), 0)
        self.read = False
        """Whether it was read at all."""

    @property
    def known(self) -> KnownCatalogue:
        """Return what was read, for another reader of the same database."""
        return KnownCatalogue(self.current, self._floor)

    async def refresh(self) -> bool:
        """Read changed rows, and follow the dates of items; return whether anything changed.

        Raises PostgresDownError; then the last catalogue stays.
        """
        # The floor is read before the rows: a transaction that commits in between is read now, and once more.
        _, now, floor = (await self._postgres.fetch(_STATE))[0]
        before = self.current
        since = self._floor if floor // _EPOCH == self._floor // _EPOCH and before.by_id else 0
        rows = await self._postgres.fetch(_ROWS_SINCE, since % _EPOCH)
        items = await asyncio.to_thread(_merged, before.by_id, rows) if since else None
        number = (await self._postgres.fetch(_STATE))[0][0]
        if items is None or number != len(items):  # the first time, and after items were deleted
            rows = rows if not since else await self._postgres.fetch(_ROWS_SINCE, 0)
            items = await asyncio.to_thread(items_of, rows)
        self.current = await asyncio.to_thread(_at, before, items, now)
        self._floor, self.read = floor, True
        return self.current is not before


def _merged(known: dict[str, Item], rows: Sequence[Any]) -> dict[str, Item]:
    """Return the known items with those of the rows; the same object if nothing is different."""
    changed = {name: item for name, item in items_of(rows).items() if known.get(name) != item}
    return known | changed if changed else known


def _at(before: Catalogue, items: dict[str, Item], now: float) -> Catalogue:
    return before.at(now) if items is before.by_id or items == before.by_id else Catalogue.of(items, now)

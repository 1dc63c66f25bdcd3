"""Selects the entries of a list that may be shown now, and makes a page of them."""

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from orjson import dumps as _dumps

from serving.answers.protocol import Answer, Entry, Filters, Listing, Source, Visitor
from serving.stores.catalogue import Catalogue, Item
from serving.stores.lists import Standing

_MOST_VISITORS: Final = 10_000
_MOST_OF_ONE: Final = 1_000
"""Beyond this number of one visitor's items the earlier ones are forgotten: the database has them by then."""
_NOTHING: Final[frozenset[str]] = frozenset()


class HiddenItems:
    """The hidden items of the visitors of this process who hid something last."""

    def __init__(self, most: int = _MOST_VISITORS) -> None:
        """Start empty."""
        self._most = most
        self._items: OrderedDict[str, frozenset[str]] = OrderedDict()

    def add(self, visitor: Visitor, item_id: str) -> None:
        """Hide an item from a user, or from a session without a user."""
        key = visitor.user_key or visitor.session_key
        if key is None:
            return
        known = self._items.get(key, _NOTHING)
        self._items[key] = (known if len(known) < _MOST_OF_ONE else _NOTHING) | {item_id}
        self._items.move_to_end(key)
        if len(self._items) > self._most:
            self._items.popitem(last=False)

    def of(self, visitor: Visitor) -> frozenset[str]:
        """Return the visitor's hidden items."""
        if not self._items:
            return _NOTHING
        key = visitor.user_key or visitor.session_key
        return _NOTHING if key is None else self._items.get(key, _NOTHING)


@dataclass(frozen=True, slots=True)
class Selection:
    """The items that one request may not get, and its filters."""

    hidden: frozenset[str] = frozenset()
    """Items that the user excluded, or that the request names."""
    brands: frozenset[str] = frozenset()
    categories: tuple[str, ...] = ()
    filters: Filters | None = None

    @classmethod
    def of(cls, standing: Standing, filters: Filters, *others: Collection[str]) -> "Selection":
        """Return the selection of a user's exclusions, of filters and of other items to hide."""
        if not standing.excluded and not filters and not any(others):
            return _ANYTHING
        kinds: dict[str, list[str]] = {"item": [], "brand": [], "category": []}
        for excluded in standing.excluded:
            kind, _, value = excluded.partition(":")
            kinds[kind].append(value)
        hidden = frozenset(kinds["item"]).union(filters.exclude, *others)
        return cls(hidden, frozenset(kinds["brand"]), tuple(kinds["category"]), filters if filters else None)

    def without(self, items: frozenset[str]) -> "Selection":
        """Return the selection that hides these items too."""
        return replace(self, hidden=self.hidden | items) if items else self

    def allows(self, item: Item) -> bool:
        """Return whether the request may get an item."""
        if item.item_id in self.hidden or (self.brands and item.brand in self.brands):
            return False
        if self.categories and any(map(item.below, self.categories)):
            return False
        return self.filters is None or _matches(item, self.filters)

    def visible(self, listing: Listing, catalogue: Catalogue, most: int) -> list[tuple[Entry, Item]]:
        """Return the first `most` entries that can be bought now and that the request may get."""
        shown: list[tuple[Entry, Item]] = []
        sold, by_id, anything = catalogue.sold, catalogue.by_id, self is _ANYTHING
        for entry in listing.entries:
            if entry[0] in sold and (anything or self.allows(by_id[entry[0]])):
                item = by_id[entry[0]]
                shown.append((entry, item))
                if len(shown) == most:
                    break
        return shown


_ANYTHING: Final = Selection()


def _matches(item: Item, filters: Filters) -> bool:
    """Return whether filters select an item. A bound of the price selects no item without a price."""
    if filters.categories and not any(map(item.below, filters.categories)):
        return False
    if filters.brands and item.brand not in filters.brands:
        return False
    lowest, highest, price = filters.lowest_price, filters.highest_price, item.price
    if price is None:
        return lowest is None and highest is None
    return (lowest is None or price >= lowest) and (highest is None or price <= highest)


def page(
    shown: list[tuple[Entry, Item]],
    offset: int,
    listing: Listing,
    source: Source,
    placement: str,
    catalogue: Catalogue,
    *,
    degraded: bool,
    personal: bool,
) -> Answer:
    """Return the answer with these entries; ranks count from the first page."""
    texts = [
        b'%b,"rank":%d,"score":%b,"reason":%b}' % (catalogue.shown_json(item), rank, _dumps(entry[1]), _dumps(entry[2]))
        for rank, (entry, item) in enumerate(shown, offset + 1)
    ]
    return Answer(
        item_ids=tuple(item.item_id for _, item in shown),
        placement=placement,
        source=source,
        model_version=listing.model_version,
        batch_id=listing.batch_id,
        degraded=degraded or listing.degraded,
        personal=personal,
        items_json=b"[%b]" % b",".join(texts),
    )

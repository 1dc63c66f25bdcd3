"""What pages ask the API for, and its answers as far as the shop shows them."""

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self


@dataclass(frozen=True, slots=True)
class Wanted:
    """One shelf of a page: the path of the API, and what the shelf is called."""

    title: str
    path: str
    context: tuple[str, ...] = ()
    """The items that it is about."""
    k: int = 10
    spare: int = 0
    """Items beyond `k` that it asks for: those with a title that the page has already are left out."""
    about: Literal["visitor", "everybody"] = "visitor"
    """Paths for everybody take no user."""
    general: str | None = None
    """The title of an answer that is not personal: empty leaves it out, and None is the same title."""

    @property
    def key(self) -> tuple[str, tuple[str, ...]]:
        """Return what answers for everybody depend on."""
        return self.path, self.context


@dataclass(frozen=True, slots=True)
class ShelfItem:
    """One item of a shelf."""

    item_id: str
    title: str
    rank: int
    reason: str
    price: float | None = None
    currency: str | None = None
    variants: int = 0
    """Later items of the list that have the same title, and are not shown."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """A list of recommendations, and its origin."""

    recommendation_id: str
    placement: str
    items: tuple[ShelfItem, ...]
    source: str
    model_version: int | None
    batch_id: int | None
    degraded: bool
    is_old: bool = False
    """Whether the API did not answer, so that this is what it answered before."""

    @property
    def is_personal(self) -> bool:
        """Return whether the list of a visitor who agreed depends on the visitor: best sellers have no batch."""
        return not self.is_old and (self.batch_id is not None or self.source in ("table", "live", "segment"))

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Self:
        """Return the shelf of an answer."""
        items = tuple(
            ShelfItem(
                one["item_id"],
                one.get("title") or one["item_id"],
                one["rank"],
                one.get("reason") or "",
                one.get("price"),
                one.get("currency"),
            )
            for one in answer["items"]
        )
        named = answer["recommendation_id"], answer["placement"]
        return cls(*named, items, answer["source"], answer["model_version"], answer["batch_id"], answer["degraded"])

    def without(self, hidden: tuple[str, ...]) -> Self:
        """Return the shelf without hidden items."""
        if not hidden:
            return self
        return replace(self, items=tuple(item for item in self.items if item.item_id not in hidden))

    def folded(self, most: int, others: Container[str] = ()) -> Self:
        """Return the shelf with the first item of each title: variants of a product often have the same.

        Titles that `others` has, without case, are left out.
        """
        titled: dict[str, list[ShelfItem]] = {}
        for item in self.items:
            titled.setdefault(item.title.casefold(), []).append(item)
        new = (items for title, items in titled.items() if title not in others)
        folded = (replace(items[0], variants=len(items) - 1) for items in new)
        return replace(self, items=tuple(folded)[:most])


@dataclass(frozen=True, slots=True)
class Product:
    """One item of the catalogue."""

    item_id: str
    title: str
    price: float | None
    currency: str | None
    category: str
    brand: str
    available: bool

    @classmethod
    def of(cls, one: Mapping[str, Any]) -> Self:
        """Return the product of an answer's item."""
        title, texts = one.get("title") or one["item_id"], (one.get("category") or "", one.get("brand") or "")
        return cls(one["item_id"], title, one.get("price"), one.get("currency"), *texts, one["available"])


@dataclass(frozen=True, slots=True)
class Found:
    """A page of products that a search found."""

    products: tuple[Product, ...]
    has_more: bool

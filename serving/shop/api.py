"""Calls the public API within a short time: for shelves, products and searches, and to hide an item."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, Literal, Self, TypeVar
from urllib.parse import quote

import httpx

from serving.shop.config import ShopConfig
from serving.shop.looks import tidied
from serving.shop.visits import Visit


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
    variants: int = 0
    """Later items of the list that have the same title, and are not shown."""
    product: "Product | None" = None
    """What the catalogue knows of it; None while the API is down."""


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
    variant: str | None = None
    """The experiment and the variant by which the list was chosen."""
    is_old: bool = False
    """Whether the API did not answer, so that this is what it answered before."""

    @property
    def is_personal(self) -> bool:
        """Return whether the list of a visitor who agreed depends on the visitor: best sellers have no batch."""
        return not self.is_old and (self.batch_id is not None or self.source in ("table", "live", "segment"))

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Self:
        """Return the shelf of an answer."""
        titled = ((one, tidied(one.get("title") or one["item_id"])[0]) for one in answer["items"])
        items = tuple(ShelfItem(one["item_id"], name, one["rank"], one.get("reason") or "") for one, name in titled)
        named = answer["recommendation_id"], answer["placement"]
        origin = answer["source"], answer["model_version"], answer["batch_id"], answer["degraded"]
        return cls(*named, items, *origin, answer.get("variant"))

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
    size: str
    price: float | None
    currency: str | None
    is_usual: bool
    """Whether the price is what customers paid in the median, because the catalogue has none."""
    category: str
    brand: str
    available: bool
    image: str
    """The address of its picture; empty without one."""
    picture: str
    """The path of the picture on the host of the shop; empty without one, and for one of other hosts."""

    @classmethod
    def of(cls, one: Mapping[str, Any], fetched: tuple[str, ...]) -> Self:
        """Return the product of an answer's item; the shop fetches pictures below the addresses `fetched`."""
        is_usual = one.get("price") is None
        price = (one.get("price_paid"), one.get("currency_paid")) if is_usual else (one["price"], one.get("currency"))
        named = one["item_id"], *tidied(one.get("title") or one["item_id"])
        texts, image = (one.get("category") or "", one.get("brand") or ""), one.get("image") or ""
        picture = f"{PICTURES}{quote(one['item_id'], safe='')}" if image.startswith(fetched) else ""
        if image.startswith("/") and image[1:2] not in ("/", "\\"):
            picture = image
        return cls(*named, *price, is_usual, *texts, one["available"], image, picture)


PICTURES: Final = "/pictures/"
_PICTURE_KINDS: Final = ("image/jpeg", "image/png", "image/webp", "image/gif", "image/avif")
"""Without SVG, which can hold scripts."""
_PICTURE_SECONDS: Final = 5.0
_ITEMS: Final = "/v1/items"
_REQUESTS: Final = "/v1/privacy/requests"
_COPY_SECONDS: Final = 30.0
_MOST_PRODUCTS: Final = 50
"""The items that the API returns by id at once."""
_MOST_SHELVES: Final = 500
_MOST_REMEMBERED: Final = 5_000
_Value = TypeVar("_Value")
_log: Final = logging.getLogger(__name__)


class ApiDownError(Exception):
    """The API did not answer in time, or not as it should."""


class Remembered(Generic[_Value]):
    """The answers that were used last, up to a number."""

    def __init__(self, most: int = _MOST_REMEMBERED) -> None:
        """Start empty."""
        self._most, self._values = most, OrderedDict[Hashable, _Value]()

    def put(self, key: Hashable, value: _Value) -> None:
        """Remember an answer in place of an earlier one."""
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._most:
            self._values.popitem(last=False)

    def get(self, key: Hashable) -> _Value | None:
        """Return the last answer."""
        return self._values.get(key)


class ShopApi:
    """The API, through one client whose connections all pages share."""

    def __init__(self, client: httpx.AsyncClient, config: ShopConfig, pictures: httpx.AsyncClient) -> None:
        """Wait for each answer as long as settings allow. `pictures` fetches those of other hosts, without a key."""
        self._client, self._pictures = client, pictures
        self._budget, self._fetched = config.budget_seconds, config.pictures_from
        self._shelves, self._products = Remembered[Shelf](_MOST_SHELVES), Remembered[Product]()
        self._is_down = False

    async def shelf(self, wanted: Wanted, visit: Visit) -> Shelf | None:
        """Return a shelf; the last good one for everybody while the API is down, and None without one."""
        try:
            answer = await self._get(wanted.path, _parameters(wanted, visit))
            shelf = Shelf.of(answer) if answer else _NO_SHELF
        except (ApiDownError, KeyError, TypeError):
            last = self._shelves.get(wanted.key)
            return None if last is None else replace(last.without(visit.hidden), is_old=True)
        if shelf.items and not visit.hidden and (wanted.about == "everybody" or not visit.is_personal):
            self._shelves.put(wanted.key, shelf)
        return shelf.without(visit.hidden)

    async def products(self, items: Sequence[str]) -> dict[str, Product]:
        """Return products by id, as far as they are known; from memory while the API is down. Raises ApiDownError."""
        if not items:
            return {}
        try:
            answer = await self._get(_ITEMS, [("item", item) for item in items[:_MOST_PRODUCTS]])
            return self._kept(answer)
        except ApiDownError:
            known = {item: product for item in items if (product := self._products.get(item)) is not None}
            if not known:
                raise
            return known

    async def picture(self, item: str) -> tuple[bytes, str] | None:
        """Return the picture of a product that a page has shown, and its kind; None without one."""
        known = self._products.get(item)
        if known is None or known.picture in ("", known.image):
            return None
        try:
            answer = await self._pictures.get(known.image, timeout=_PICTURE_SECONDS)
        except httpx.HTTPError:
            return None
        kind = answer.headers.get("content-type", "")
        return (answer.content, kind) if answer.is_success and kind in _PICTURE_KINDS else None

    async def search(self, text: str, category: str, offset: int, k: int) -> tuple[list[Product], bool]:
        """Return products by words of their titles, and whether there are more. Raises ApiDownError."""
        given = [("q", text), ("category", category)]
        parameters = [*((name, value) for name, value in given if value), ("offset", str(offset)), ("k", str(k))]
        answer = await self._get(_ITEMS, parameters)
        return list(self._kept(answer).values()), answer.get("next") is not None

    async def hide(self, visit: Visit, item: str, shown: dict[str, Any]) -> bool:
        """State that the visitor does not want to see an item; return whether that is durable. It is no consent."""
        who = {"user": visit.household, "session": visit.device}
        stated = {"kind": "not_interested", "item_id": item, **who, **shown}
        body = {name: value for name, value in stated.items() if value is not None}
        try:
            await self._request("POST", "/v1/feedback", json=body)
        except ApiDownError:
            return False
        return True

    async def ask(self, kind: Literal["export", "erase"], household: str) -> int:
        """Make a request for a household about its data; returns its number. Raises ApiDownError."""
        body = {"kind": kind, "user_ids": [household], "reason": "asked in the shop"}
        try:
            return int((await self._request("POST", _REQUESTS, json=body))["number"])
        except KeyError:
            raise ApiDownError from None

    async def has_copy(self, number: int) -> bool:
        """Return whether the copy of a request is ready, as far as the API answers."""
        try:
            return (await self._request("GET", f"{_REQUESTS}/{number}")).get("file") is not None
        except ApiDownError:
            return False

    async def copy(self, number: int) -> bytes | None:
        """Return the copy of a request; None before it is ready, or after its days. Raises ApiDownError."""
        try:
            answer = await self._client.get(f"{_REQUESTS}/{number}/file", timeout=_COPY_SECONDS)
        except httpx.HTTPError:
            raise ApiDownError from None
        return answer.content if answer.is_success else None

    def _kept(self, answer: dict[str, Any]) -> dict[str, Product]:
        try:
            found = {one["item_id"]: Product.of(one, self._fetched) for one in answer.get("items", ())}
        except (KeyError, TypeError):
            raise ApiDownError from None
        for item, product in found.items():
            self._products.put(item, product)
        return found

    async def _get(self, path: str, parameters: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """Return an answer; empty for an address that this installation does not have, such as another placement."""
        return await self._request("GET", path, params=httpx.QueryParams(list(parameters)))

    async def _request(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self._budget):
                answer = await self._client.request(method, path, **content)
            if answer.status_code in (404, 422):
                return {}
            answer.raise_for_status()
            stated: dict[str, Any] = answer.json()
        except (httpx.HTTPError, TimeoutError, ValueError) as error:
            self._note(is_down=True, reason=type(error).__name__)
            raise ApiDownError from None
        self._note(is_down=False)
        return stated

    def _note(self, *, is_down: bool, reason: str = "") -> None:
        """Log the begin and the end of an outage once."""
        if is_down != self._is_down:
            self._is_down = is_down
            _log.warning("The API %s.", f"does not answer ({reason})" if is_down else "answers again")


def _parameters(wanted: Wanted, visit: Visit) -> Iterable[tuple[str, str]]:
    yield "k", str(wanted.k + wanted.spare)
    yield from (("context", item) for item in wanted.context)
    yield from (("exclude", item) for item in visit.hidden)
    if wanted.about == "everybody":
        return
    if not visit.is_personal:
        yield "consent", "false"
        return
    # Without `consent=true`: that would be an answer, and take back a refusal of the household in another browser.
    if visit.household is not None:
        yield "user", visit.household
    if visit.device is not None:
        yield "session", visit.device


_NO_SHELF: Final = Shelf("", "", (), "", None, None, degraded=False)

"""Endpoints of items: lists about them, the catalogue, and its updates."""

import unicodedata
from functools import partial
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import orjson
from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from models.columns import CATEGORY_SEPARATOR
from serving.answers.catalogue_search import CatalogueQuery, FoundItem
from serving.api.gate.routes import SCOPE, add_hot_route, path_parameters
from serving.api.replies.document import Accepted, AcceptedMany, BatchedLists, RecommendationList
from serving.api.replies.lists import Answered, accepted, batched, list_request, listed, next_page
from serving.api.requests import values
from serving.api.requests.values import Amount, Body, Flag, Id, ListQuery, LongText, PageSize, PlacementName, ShortText
from serving.api.state import Call, Reply, call_of, response
from serving.events.message import Message, item_message

MOST_CHANGES = 500
router = APIRouter(tags=["items"])
_PARAMETERS = (values.PLACEMENT, *values.PAGING, values.USER, values.SESSION, values.CONSENT, *values.FILTERS)
_PARSER = values.QueryParser(_PARAMETERS)
_ITEM = "/v1/items/{item}"


def _web(text: str) -> str:
    if urlsplit(text).scheme not in ("http", "https") and not (text.startswith("/") and text[1:2] != "/"):
        raise ValueError("it is neither an address with http or https nor a path")
    return text


def _shown(text: str) -> str:
    """Refuse a text that shows nothing: spaces, marks without width, or a path without words."""
    if not any(unicodedata.category(letter)[0] not in "ZC" for letter in text.replace(CATEGORY_SEPARATOR, "")):
        raise ValueError("it shows nothing; write a text with letters")
    return text


Shown = Annotated[LongText, AfterValidator(_shown)]
WebAddress = Annotated[LongText, AfterValidator(_web)]


class CatalogueItem(BaseModel):
    """One item of the catalogue."""

    item_id: str = Field(description="The item, by the id that your systems use.")
    title: str | None
    url: str | None
    image: str | None
    price: float | None
    currency: str | None
    price_paid: float | None = Field(description="The median price of a piece in purchases up to the newest data set.")
    currency_paid: str | None
    category: str | None = Field(description="The path, such as `GROCERY|TEA|GREEN`.")
    brand: str | None
    available: bool = Field(description="Whether it can be bought now.")


class CatalogueItems(BaseModel):
    """A page of items."""

    next: str | None = Field(description="The next page; null on the last one.")
    items: list[CatalogueItem]


class ItemBatch(Body):
    """Items whose lists are wanted."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": ["995242", "1082185"], "k": 5}]})

    items: Annotated[tuple[Id, ...], Field(min_length=1, max_length=100)]
    placement: PlacementName | None = None
    k: PageSize | None = None


class ItemUpdate(Body):
    """New values of an item. Fields that are missing stay as they are."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"price": 2.5, "currency": "USD", "in_stock": True, "hidden": False}]}
    )

    message_id: Id | None = Field(default=None, description="Your id of this message, so that a repetition is one.")
    title: Shown | None = None
    category: Shown | None = Field(default=None, description="The path, such as `GROCERY|TEA|GREEN`.")
    brand: Annotated[ShortText, AfterValidator(_shown)] | None = None
    price: Amount | None = None
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] | None = None
    url: WebAddress | None = None
    image: WebAddress | None = None
    in_stock: Flag | None = None
    hidden: Flag | None = Field(default=None, description="`true` hides the item in all lists, `false` shows it again.")
    attributes: Annotated[dict[ShortText, LongText], Field(max_length=100, default_factory=dict)]

    @model_validator(mode="after")
    def _states_something(self) -> "ItemUpdate":
        if not self.stated():
            raise ValueError("it states no value of the item")
        return self

    def stated(self) -> dict[str, Any]:
        """Return the stated fields."""
        names = type(self).model_fields.keys() - {"message_id", "item_id"}
        return {name: value for name in names if (value := getattr(self, name)) is not None and value != {}}


class NamedItemUpdate(ItemUpdate):
    """New values of one of several items."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"item_id": "995242", "in_stock": False}]})

    item_id: Id


class ItemUpdates(Body):
    """New values of several items."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [{"item_id": "995242", "in_stock": False}]}]})

    items: Annotated[tuple[NamedItemUpdate, ...], Field(min_length=1, max_length=MOST_CHANGES)]


async def similar(call: Call) -> Reply:
    """Return items that are similar to an item."""
    ask = partial(call.state.parts.answers.similar, call.value)
    return await listed(call, _PARSER, "similarity", ask, "/v1/items/{}/similar")


async def goes_with(call: Call) -> Reply:
    """Return items that go well with an item."""
    ask = partial(call.state.parts.answers.goes_with, (call.value,))
    return await listed(call, _PARSER, "co_purchase", ask, "/v1/items/{}/goes-with")


add_hot_route(router, f"{_ITEM}/similar", similar, _PARAMETERS, RecommendationList)
add_hot_route(router, f"{_ITEM}/goes-with", goes_with, _PARAMETERS, RecommendationList)


@router.post("/v1/batch/similar", response_model=BatchedLists)
async def similar_to_many(batch: ItemBatch, request: Request) -> Response:
    """Return similar items for each of several items."""
    call = call_of(request)
    wanted = list_request(call.state, ListQuery(batch.placement, k=batch.k), None, "similarity")

    async def one(item: str) -> Answered:
        return await call.state.parts.answers.similar(item, wanted), wanted.visitor

    return response(await batched(call, batch.items, one))


@router.post("/v1/batch/goes-with", response_model=BatchedLists)
async def goes_with_many(batch: ItemBatch, request: Request) -> Response:
    """Return items that go well, for each of several items. For a whole basket, call `/v1/baskets/goes-with`."""
    call = call_of(request)
    wanted = list_request(call.state, ListQuery(batch.placement, k=batch.k), None, "co_purchase")

    async def one(item: str) -> Answered:
        return await call.state.parts.answers.goes_with((item,), wanted), wanted.visitor

    return response(await batched(call, batch.items, one))


_WRITES = {SCOPE: "write", "parameters": path_parameters(_ITEM)}


@router.put(_ITEM, response_model=Accepted, status_code=202, openapi_extra=_WRITES)
async def put_item(update: ItemUpdate, request: Request) -> Response:
    """Add an item to the catalogue, or change its values."""
    call = call_of(request)
    return response(await accepted(call, _message(call, call.value, update), adds=True))


@router.patch(_ITEM, response_model=Accepted, status_code=202, openapi_extra=_WRITES)
async def change_item(update: ItemUpdate, request: Request) -> Response:
    """Change values of an item that the catalogue has: price, stock, or whether it is hidden."""
    call = call_of(request)
    return response(await accepted(call, _message(call, call.value, update)))


@router.patch("/v1/items", response_model=AcceptedMany, status_code=202, openapi_extra={SCOPE: "write"})
async def change_items(updates: ItemUpdates, request: Request) -> Response:
    """Change values of several items that the catalogue has. If it lacks one, nothing is stored."""
    call = call_of(request)
    messages = (_message(call, one.item_id, one) for one in updates.items)
    return response(await accepted(call, *messages, many=True))


def _message(call: Call, item: str, update: ItemUpdate) -> Message:
    version = call.state.pseudonyms.key_version
    return item_message({"item_id": item} | update.stated(), version, update.message_id or values.random_id())


_SEARCH = (values.WORDS, values.ITEM, *values.PAGING, *values.FILTERS)
_SEARCH_PARSER = values.QueryParser(_SEARCH)
_PAGE: Final = 20
_STATED: Final = ("item_id", "title", "url", "image", "price", "currency", "price_paid", "currency_paid")


async def find_items(call: Call) -> Reply:
    """Return items of the catalogue: best sellers first, or those that `item` names, in this order.

    Named items are returned even if they cannot be bought now; unknown ones are left out. Other items can be bought,
    and the beginning of each word of `q` occurs in their titles, without regard to case and accents.
    """
    query = _SEARCH_PARSER.parse(call.query)
    k = query.k or _PAGE
    wanted = CatalogueQuery(k + 1, query.offset, query.q or "", query.items, query.filters)
    found = await call.state.parts.answers.find(wanted)
    is_last = query.items or len(found) <= k
    target, headers = (None, ()) if is_last else next_page("/v1/items", query, query.offset + k)
    shown = found if query.items else found[:k]
    return Reply(orjson.dumps({"next": target, "items": [_stated(one) for one in shown]}), headers=headers)


def _stated(found: FoundItem) -> dict[str, object]:
    item = found.item
    stated = {name: getattr(item, name) for name in _STATED}
    return stated | {"category": item.category or None, "brand": item.brand or None, "available": found.available}


add_hot_route(router, "/v1/items", find_items, _SEARCH, CatalogueItems)

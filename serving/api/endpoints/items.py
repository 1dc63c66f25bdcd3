"""Endpoints of items: lists about them, and updates of the catalogue."""

import unicodedata
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from models.columns import CATEGORY_SEPARATOR
from serving.answers.answer import Answer
from serving.answers.request import ListRequest
from serving.api.gate.call import Call, Reply, call_of, response
from serving.api.gate.routes import SCOPE, add_hot_route, path_parameters
from serving.api.replies.lists import Answered, batched, list_reply, list_request
from serving.api.replies.messages import accepted, new_message_id
from serving.api.replies.protocol import Accepted, AcceptedMany, BatchedLists, RecommendationList
from serving.api.requests.bodies import Amount, Body, Flag, LongText, ShortText
from serving.api.requests.ids import Id
from serving.api.requests.list_query import (
    CONSENT,
    FILTERS,
    MOST_ITEMS,
    PAGING,
    PLACEMENT,
    PLACEMENT_PATTERN,
    SESSION,
    USER,
    ListQuery,
    QueryParser,
)
from serving.api.state import Kind
from serving.events.message import item_message

MOST_CHANGES = 500
router = APIRouter(tags=["items"])
_PARAMETERS = (PLACEMENT, *PAGING, USER, SESSION, CONSENT, *FILTERS)
_PARSER = QueryParser(_PARAMETERS)
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
    placement: Annotated[str, Field(pattern=PLACEMENT_PATTERN)] | None = None
    k: Annotated[int, Field(strict=True, ge=1, le=MOST_ITEMS)] | None = None


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
        if not self.values():
            raise ValueError("it states no value of the item")
        return self

    def values(self) -> dict[str, Any]:
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
    return await _list(call, "similarity", "/v1/items/{}/similar")


async def goes_with(call: Call) -> Reply:
    """Return items that go well with an item."""
    return await _list(call, "co_purchase", "/v1/items/{}/goes-with")


async def _list(call: Call, kind: Kind, path: str) -> Reply:
    query = _PARSER.parse(call.query)
    request = list_request(call.state, query, query.user, kind)
    answer = await _answer(call, call.value, request, kind)
    return list_reply(call, answer, request.visitor, query, request.k, path)


async def _answer(call: Call, item: str, request: ListRequest, kind: Kind) -> Answer:
    answers = call.state.parts.answers
    return await (answers.similar(item, request) if kind == "similarity" else answers.goes_with((item,), request))


add_hot_route(router, f"{_ITEM}/similar", similar, _PARAMETERS, RecommendationList)
add_hot_route(router, f"{_ITEM}/goes-with", goes_with, _PARAMETERS, RecommendationList)


@router.post("/v1/batch/similar", response_model=BatchedLists)
async def similar_to_many(batch: ItemBatch, request: Request) -> Response:
    """Return similar items for each of several items."""
    return await _many(batch, call_of(request), "similarity")


@router.post("/v1/batch/goes-with", response_model=BatchedLists)
async def goes_with_many(batch: ItemBatch, request: Request) -> Response:
    """Return items that go well, for each of several items. For a whole basket, call `/v1/baskets/goes-with`."""
    return await _many(batch, call_of(request), "co_purchase")


async def _many(batch: ItemBatch, call: Call, kind: Kind) -> Response:
    wanted = list_request(call.state, ListQuery(batch.placement, k=batch.k), None, kind)

    async def one(item: str) -> Answered:
        return await _answer(call, item, wanted, kind), wanted.visitor

    return response(await batched(call, batch.items, one))


_WRITES = {SCOPE: "write", "parameters": path_parameters(_ITEM)}


@router.put(_ITEM, response_model=Accepted, status_code=202, openapi_extra=_WRITES)
async def put_item(update: ItemUpdate, request: Request) -> Response:
    """Add an item to the catalogue, or change its values."""
    return await _update(update, call_of(request), adds=True)


@router.patch(_ITEM, response_model=Accepted, status_code=202, openapi_extra=_WRITES)
async def change_item(update: ItemUpdate, request: Request) -> Response:
    """Change values of an item that the catalogue has: price, stock, or whether it is hidden."""
    return await _update(update, call_of(request))


@router.patch("/v1/items", response_model=AcceptedMany, status_code=202, openapi_extra={SCOPE: "write"})
async def change_items(updates: ItemUpdates, request: Request) -> Response:
    """Change values of several items that the catalogue has. If it lacks one, nothing is stored."""
    call = call_of(request)
    version = call.state.pseudonyms.key_version
    messages = (
        item_message({"item_id": one.item_id} | one.values(), version, one.message_id or new_message_id())
        for one in updates.items
    )
    return response(await accepted(call, *messages, many=True))


async def _update(update: ItemUpdate, call: Call, *, adds: bool = False) -> Response:
    version = call.state.pseudonyms.key_version
    message = item_message({"item_id": call.value} | update.values(), version, update.message_id or new_message_id())
    return response(await accepted(call, message, adds=adds))

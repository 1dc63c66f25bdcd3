"""Endpoints of items."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from serving.answers.answer import Answer
from serving.answers.request import ListRequest
from serving.api.gate.call import Call, Reply, call_of, response
from serving.api.gate.hot_routes import add_hot_route, path_parameters
from serving.api.gate.routes import SCOPE
from serving.api.items.protocol import ItemBatch, ItemUpdate, ItemUpdates, item_change
from serving.api.replies.batches import Answered, batched
from serving.api.replies.lists import list_reply
from serving.api.replies.messages import accepted, new_message_id
from serving.api.replies.protocol import Accepted, AcceptedMany, BatchedLists, RecommendationList
from serving.api.requests.list_query import ListQuery, QueryParser
from serving.api.requests.list_requests import list_request
from serving.api.requests.parameters import CONSENT, FILTERS, PAGING, PLACEMENT, SESSION, USER
from serving.api.state import Kind
from serving.events.messages import item_message

router = APIRouter(tags=["items"])
_PARAMETERS = (PLACEMENT, *PAGING, USER, SESSION, CONSENT, *FILTERS)
_PARSER = QueryParser(_PARAMETERS)
_ITEM = "/v1/items/{item}"


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
        item_message(item_change(one.item_id, one), version, one.message_id or new_message_id())
        for one in updates.items
    )
    return response(await accepted(call, *messages, many=True))


async def _update(update: ItemUpdate, call: Call, *, adds: bool = False) -> Response:
    version = call.state.pseudonyms.key_version
    message = item_message(item_change(call.value, update), version, update.message_id or new_message_id())
    return response(await accepted(call, message, adds=adds))

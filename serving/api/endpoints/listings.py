"""Endpoints of best sellers, trending and new items."""

from fastapi import APIRouter

from serving.answers.request import Visitor
from serving.api.gate.call import Call, Reply
from serving.api.gate.routes import add_hot_route
from serving.api.replies.lists import list_reply, list_request
from serving.api.replies.protocol import RecommendationList
from serving.api.requests.list_query import FILTERS, PAGING, PLACEMENT, QueryParser

router = APIRouter(tags=["listings"])
_PARAMETERS = (PLACEMENT, *PAGING, *FILTERS)
_PARSER = QueryParser(_PARAMETERS)


async def popular(call: Call) -> Reply:
    """Return best sellers, under the rules of a placement for users."""
    query = _PARSER.parse(call.query)
    request = list_request(call.state, query, None, "user")
    answer = await call.state.parts.answers.popular(request)
    return list_reply(call, answer, Visitor(), query, request.k, "/v1/popular")


async def trending(call: Call) -> Reply:
    """Return the items that gain most, under the rules of a placement for users."""
    query = _PARSER.parse(call.query)
    request = list_request(call.state, query, None, "user")
    answer = await call.state.parts.answers.trending(request)
    return list_reply(call, answer, Visitor(), query, request.k, "/v1/trending")


async def newest(call: Call) -> Reply:
    """Return the newest items, under the rules of a placement for users."""
    query = _PARSER.parse(call.query)
    request = list_request(call.state, query, None, "user")
    answer = await call.state.parts.answers.newest(request)
    return list_reply(call, answer, Visitor(), query, request.k, "/v1/new")


add_hot_route(router, "/v1/popular", popular, _PARAMETERS, RecommendationList)
add_hot_route(router, "/v1/trending", trending, _PARAMETERS, RecommendationList)
add_hot_route(router, "/v1/new", newest, _PARAMETERS, RecommendationList)

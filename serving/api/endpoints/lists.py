"""Endpoints of best sellers, trending and new items, of baskets, and of given items."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from serving.answers.protocol import Filters, RankRequest
from serving.api.gate.routes import add_hot_route
from serving.api.replies.document import RecommendationList
from serving.api.replies.lists import body, list_request, listed, placement_name, shown, visitor
from serving.api.requests import values
from serving.api.requests.values import Amount, Body, Flag, Id, ListQuery, PageSize, PlacementName, ShortText
from serving.api.state import Call, Reply, call_of, response

listings, baskets = APIRouter(tags=["listings"]), APIRouter(tags=["baskets"])
_PARAMETERS = (values.PLACEMENT, *values.PAGING, *values.FILTERS)
_PARSER = values.QueryParser(_PARAMETERS)


async def popular(call: Call) -> Reply:
    """Return best sellers, under the rules of a placement for users."""
    return await listed(call, _PARSER, "user", call.state.parts.answers.popular, "/v1/popular")


async def trending(call: Call) -> Reply:
    """Return the items that gain most, under the rules of a placement for users."""
    return await listed(call, _PARSER, "user", call.state.parts.answers.trending, "/v1/trending")


async def newest(call: Call) -> Reply:
    """Return the newest items, under the rules of a placement for users."""
    return await listed(call, _PARSER, "user", call.state.parts.answers.newest, "/v1/new")


add_hot_route(listings, "/v1/popular", popular, _PARAMETERS, RecommendationList)
add_hot_route(listings, "/v1/trending", trending, _PARAMETERS, RecommendationList)
add_hot_route(listings, "/v1/new", newest, _PARAMETERS, RecommendationList)


MOST_RANKED = 1000


class Narrowed(Body):
    """Narrows the items of an answer."""

    categories: Annotated[tuple[ShortText, ...], Field(max_length=values.MOST_FILTERS)] = ()
    brands: Annotated[tuple[ShortText, ...], Field(max_length=values.MOST_FILTERS)] = ()
    lowest_price: Amount | None = None
    highest_price: Amount | None = None
    exclude: Annotated[tuple[Id, ...], Field(max_length=values.MOST_EXCLUDED)] = ()

    def filters(self) -> Filters:
        """Return the filters of a request."""
        return Filters(**dict(self))


class Visited(Body):
    """The visitor, and the placement."""

    placement: PlacementName | None = None
    user: Id | None = None
    session: Id | None = None
    consent: Flag | None = None


class Basket(Visited):
    """The items of a basket, and the visitor."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": ["995242", "1082185"], "user": "1", "k": 5}]})

    items: Annotated[tuple[Id, ...], Field(min_length=1, max_length=values.MOST_CONTEXT)]
    k: PageSize | None = None
    offset: Annotated[int, Field(strict=True, ge=0, le=values.DEEPEST)] = 0
    filters: Narrowed = Narrowed()


class Ranking(Visited):
    """Items to order, and the visitor."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"items": ["995242", "1082185", "1029743"], "user": "1"}]}
    )

    items: Annotated[tuple[Id, ...], Field(min_length=1, max_length=MOST_RANKED)]
    context: Annotated[tuple[Id, ...], Field(max_length=values.MOST_CONTEXT)] = ()


@baskets.post("/v1/baskets/goes-with", response_model=RecommendationList)
async def goes_with_basket(basket: Basket, request: Request) -> Response:
    """Return items that go well with all items of a basket. Pages are asked for by `offset`."""
    call = call_of(request)
    query = ListQuery(
        placement=basket.placement,
        session=basket.session,
        k=basket.k,
        offset=basket.offset,
        filters=basket.filters.filters(),
        consent=basket.consent,
    )
    wanted = list_request(call.state, query, basket.user, "co_purchase")
    answer = await call.state.parts.answers.goes_with(basket.items, wanted)
    return response(Reply(body(answer, shown(call, answer, wanted.visitor, basket.consent, basket.offset))))


@baskets.post("/v1/rank", response_model=RecommendationList)
async def rank(ranking: Ranking, request: Request) -> Response:
    """Return the given items in the visitor's order. Items that the placement's rules do not allow are left out."""
    call = call_of(request)
    placement = placement_name(call.state, ranking.placement, "user")
    seen_by = visitor(call.state, ranking.user, ranking.session, ranking.consent)
    wanted = RankRequest(placement, seen_by, tuple(dict.fromkeys(ranking.items)), ranking.context)
    answer = await call.state.parts.answers.rank(wanted)
    return response(Reply(body(answer, shown(call, answer, seen_by, ranking.consent))))

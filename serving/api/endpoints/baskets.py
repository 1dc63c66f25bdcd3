"""Endpoints of baskets and of given items."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from serving.answers.request import Filters, RankRequest
from serving.api.gate.call import Reply, call_of, response
from serving.api.replies.lists import body, list_request, placement_name, shown, visitor
from serving.api.replies.protocol import RecommendationList
from serving.api.requests.bodies import Amount, Body, Flag, ShortText
from serving.api.requests.ids import Id
from serving.api.requests.list_query import (
    DEEPEST,
    MOST_CONTEXT,
    MOST_EXCLUDED,
    MOST_FILTERS,
    MOST_ITEMS,
    PLACEMENT_PATTERN,
    ListQuery,
)

PlacementName = Annotated[str, Field(pattern=PLACEMENT_PATTERN)]
MOST_RANKED = 1000
router = APIRouter(tags=["baskets"])


class Narrowed(Body):
    """Narrows the items of an answer."""

    categories: Annotated[tuple[ShortText, ...], Field(max_length=MOST_FILTERS)] = ()
    brands: Annotated[tuple[ShortText, ...], Field(max_length=MOST_FILTERS)] = ()
    lowest_price: Amount | None = None
    highest_price: Amount | None = None
    exclude: Annotated[tuple[Id, ...], Field(max_length=MOST_EXCLUDED)] = ()

    def filters(self) -> Filters:
        """Return the filters of a request."""
        lists = tuple(self.categories), tuple(self.brands)
        return Filters(*lists, self.lowest_price, self.highest_price, tuple(self.exclude))


class Basket(Body):
    """The items of a basket, and the visitor."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": ["995242", "1082185"], "user": "1", "k": 5}]})

    items: Annotated[tuple[Id, ...], Field(min_length=1, max_length=MOST_CONTEXT)]
    placement: PlacementName | None = None
    user: Id | None = None
    session: Id | None = None
    consent: Flag | None = None
    k: Annotated[int, Field(strict=True, ge=1, le=MOST_ITEMS)] | None = None
    offset: Annotated[int, Field(strict=True, ge=0, le=DEEPEST)] = 0
    filters: Narrowed = Narrowed()


class Ranking(Body):
    """Items to order, and the visitor."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"items": ["995242", "1082185", "1029743"], "user": "1"}]}
    )

    items: Annotated[tuple[Id, ...], Field(min_length=1, max_length=MOST_RANKED)]
    placement: PlacementName | None = None
    user: Id | None = None
    session: Id | None = None
    consent: Flag | None = None
    context: Annotated[tuple[Id, ...], Field(max_length=MOST_CONTEXT)] = ()


@router.post("/v1/baskets/goes-with", response_model=RecommendationList)
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
    answer = await call.state.parts.answers.goes_with(tuple(basket.items), wanted)
    return response(Reply(body(answer, shown(call, answer, wanted.visitor, basket.consent, basket.offset))))


@router.post("/v1/rank", response_model=RecommendationList)
async def rank(ranking: Ranking, request: Request) -> Response:
    """Return the given items in the visitor's order. Items that the placement's rules do not allow are left out."""
    call = call_of(request)
    placement = placement_name(call.state, ranking.placement, "user")
    seen_by = visitor(call.state, ranking.user, ranking.session, ranking.consent)
    wanted = RankRequest(placement, seen_by, tuple(dict.fromkeys(ranking.items)), tuple(ranking.context))
    answer = await call.state.parts.answers.rank(wanted)
    return response(Reply(body(answer, shown(call, answer, seen_by, ranking.consent))))

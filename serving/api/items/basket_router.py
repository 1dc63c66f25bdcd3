"""Endpoints of baskets and of given items."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from serving.answers.request import RankRequest
from serving.api.gate.call import Reply, call_of, response
from serving.api.items.basket_protocol import Basket, Ranking
from serving.api.replies.lists import body, shown
from serving.api.replies.protocol import RecommendationList
from serving.api.requests.list_query import ListQuery
from serving.api.requests.list_requests import list_request, placement_name, visitor

router = APIRouter(tags=["baskets"])


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

"""Endpoints of users."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from serving.api.gate.call import Call, Reply, call_of, response
from serving.api.gate.hot_routes import add_hot_route, path_parameters
from serving.api.gate.routes import SCOPE
from serving.api.replies.batches import Answered, batched
from serving.api.replies.lists import list_reply
from serving.api.replies.messages import accepted, new_message_id
from serving.api.replies.protocol import Accepted, BatchedLists, RecommendationList
from serving.api.requests.list_query import ListQuery, QueryParser
from serving.api.requests.list_requests import list_request, visitor
from serving.api.requests.parameters import CONSENT, CONTEXT, FILTERS, PAGING, PLACEMENT, SESSION
from serving.api.users.protocol import UserBatch, UserUpdate, user_change
from serving.events.messages import Sender, user_message

router = APIRouter(tags=["users"])
_PARAMETERS = (PLACEMENT, *PAGING, SESSION, CONSENT, CONTEXT, *FILTERS)
_PARSER = QueryParser(_PARAMETERS)


async def recommendations(call: Call) -> Reply:
    """Return a user's list of a placement."""
    return await _list(call, call.value, "/v1/users/{}/recommendations")


async def visitor_recommendations(call: Call) -> Reply:
    """Return a list for a visitor without an account, by session and context items."""
    return await _list(call, None, "/v1/recommendations")


async def _list(call: Call, user: str | None, path: str) -> Reply:
    query = _PARSER.parse(call.query)
    request = list_request(call.state, query, user, "user")
    answer = await call.state.parts.answers.recommend(request)
    return list_reply(call, answer, request.visitor, query, request.k, path)


add_hot_route(router, "/v1/users/{user}/recommendations", recommendations, _PARAMETERS, RecommendationList)
add_hot_route(router, "/v1/recommendations", visitor_recommendations, _PARAMETERS, RecommendationList)


@router.post("/v1/batch/recommendations", response_model=BatchedLists)
async def recommendations_of_many(batch: UserBatch, request: Request) -> Response:
    """Return the lists of several users."""
    call = call_of(request)
    query = ListQuery(batch.placement, k=batch.k, context=tuple(batch.context))

    async def one(user: str) -> Answered:
        wanted = list_request(call.state, query, user, "user")
        return await call.state.parts.answers.recommend(wanted), wanted.visitor

    return response(await batched(call, batch.users, one))


@router.put(
    "/v1/users/{user}",
    response_model=Accepted,
    status_code=202,
    openapi_extra={SCOPE: "write", "parameters": path_parameters("/v1/users/{user}")},
)
async def update_user(update: UserUpdate, request: Request) -> Response:
    """State what is known of a user: traits, consent, and what must not be shown.

    A withdrawal of consent counts at once. Traits have to be on the allow-list `TAILORBIRD_USER_TRAITS`.
    """
    call = call_of(request)
    change = user_change(update, call.state.traits)
    key = visitor(call.state, call.value, None, None).user_key
    sender = Sender(call.state.pseudonyms.key_version, key, None, call.value, update.consent)
    message = user_message(change, sender, update.message_id or new_message_id(), call.state.traits)
    return response(await accepted(call, message))

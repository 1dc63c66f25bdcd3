"""Endpoints of users: their lists, and what callers state about them."""

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from serving.api.gate.call import Call, Reply, call_of, response
from serving.api.gate.routes import SCOPE, add_hot_route, path_parameters
from serving.api.replies.lists import Answered, batched, list_reply, list_request, visitor
from serving.api.replies.messages import accepted, new_message_id
from serving.api.replies.protocol import Accepted, BatchedLists, RecommendationList
from serving.api.requests.bodies import Body, Flag, ShortText
from serving.api.requests.ids import Id
from serving.api.requests.list_query import (
    CONSENT,
    CONTEXT,
    FILTERS,
    MOST_CONTEXT,
    MOST_ITEMS,
    PAGING,
    PLACEMENT,
    PLACEMENT_PATTERN,
    SESSION,
    ListQuery,
    QueryParser,
)
from serving.api.requests.problems import Fault, RefusedRequestError
from serving.events.message import Sender, user_message

MOST_USERS = 100
router = APIRouter(tags=["users"])
_PARAMETERS = (PLACEMENT, *PAGING, SESSION, CONSENT, CONTEXT, *FILTERS)
_PARSER = QueryParser(_PARAMETERS)


class UserBatch(Body):
    """Users whose lists are wanted."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"users": ["1", "2"], "placement": "home", "k": 10}]})

    users: Annotated[tuple[Id, ...], Field(min_length=1, max_length=MOST_USERS)]
    placement: Annotated[str, Field(pattern=PLACEMENT_PATTERN)] | None = None
    k: Annotated[int, Field(strict=True, ge=1, le=MOST_ITEMS)] | None = None
    context: Annotated[tuple[Id, ...], Field(max_length=MOST_CONTEXT)] = ()


class Exclusion(Body):
    """What a user does not want to see."""

    kind: Literal["item", "brand", "category"]
    value: Id


class UserUpdate(Body):
    """What a user states. Fields that are missing stay as they are."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "consent": True,
                    "traits": {"age_band": "25-34"},
                    "exclusions": [{"kind": "category", "value": "GROCERY|TOBACCO"}],
                }
            ]
        }
    )

    message_id: Id | None = Field(default=None, description="Your id of this message, so that a repetition is one.")
    consent: Flag | None = Field(default=None, description="Whether the user agrees to personal lists.")
    traits: Annotated[dict[ShortText, ShortText], Field(max_length=50, default_factory=dict)]
    exclusions: Annotated[tuple[Exclusion, ...], Field(max_length=100)] = ()


def _require_allowed(update: UserUpdate, allowed: tuple[str, ...]) -> None:
    """Raise RefusedRequestError for traits that are not allowed."""
    if unknown := sorted(set(update.traits) - set(allowed)):
        known = ", ".join(allowed) or "none"
        detail = f"{len(unknown)} traits are not on the allow-list TAILORBIRD_USER_TRAITS, which has {known}."
        raise RefusedRequestError([Fault("/traits", detail)])


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
    _require_allowed(update, call.state.traits)
    key = visitor(call.state, call.value, None, None).user_key
    sender = Sender(call.state.pseudonyms.key_version, key, None, call.value, update.consent)
    exclusions = [(one.kind, one.value) for one in update.exclusions]
    message = user_message(update.traits, exclusions, sender, update.message_id or new_message_id())
    return response(await accepted(call, message))

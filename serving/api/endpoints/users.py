"""Endpoints of users: their lists, and what callers state about them."""

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from serving.api.gate.routes import SCOPE, add_hot_route, path_parameters
from serving.api.replies.document import Accepted, BatchedLists, RecommendationList
from serving.api.replies.lists import Answered, accepted, batched, list_request, listed, visitor
from serving.api.requests import values
from serving.api.requests.problems import refuse_unknown_traits
from serving.api.requests.values import Body, Flag, Id, ListQuery, PageSize, PlacementName, ShortText
from serving.api.state import Call, Reply, call_of, response
from serving.events.message import Sender, user_message

MOST_USERS = 100
router = APIRouter(tags=["users"])
_PARAMETERS = (values.PLACEMENT, *values.PAGING, values.SESSION, values.CONSENT, values.CONTEXT, *values.FILTERS)
_PARSER = values.QueryParser(_PARAMETERS)


class UserBatch(Body):
    """Users whose lists are wanted."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"users": ["1", "2"], "placement": "home", "k": 10}]})

    users: Annotated[tuple[Id, ...], Field(min_length=1, max_length=MOST_USERS)]
    placement: PlacementName | None = None
    k: PageSize | None = None
    context: Annotated[tuple[Id, ...], Field(max_length=values.MOST_CONTEXT)] = ()


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


async def recommendations(call: Call) -> Reply:
    """Return a user's list of a placement."""
    ask = call.state.parts.answers.recommend
    return await listed(call, _PARSER, "user", ask, "/v1/users/{}/recommendations", call.value)


async def visitor_recommendations(call: Call) -> Reply:
    """Return a list for a visitor without an account, by session and context items."""
    return await listed(call, _PARSER, "user", call.state.parts.answers.recommend, "/v1/recommendations")


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
    refuse_unknown_traits(update.traits, call.state.traits)
    key = visitor(call.state, call.value, None, None).user_key
    sender = Sender(call.state.pseudonyms.key_version, key, None, call.value, update.consent)
    product = call.state.parts.answers.product
    exclusions = [(one.kind, product(one.value) if one.kind == "item" else one.value) for one in update.exclusions]
    message = user_message(update.traits, exclusions, sender, update.message_id or values.random_id())
    return response(await accepted(call, message))

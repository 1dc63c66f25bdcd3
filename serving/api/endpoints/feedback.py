"""Endpoints that take what visitors do with recommendations."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter
from pydantic import AfterValidator, ConfigDict, Field, JsonValue, model_validator
from starlette.requests import Request
from starlette.responses import Response

from models.ingest import placeholder_ids
from models.ingest.batch_limits import Limits
from models.ingest.currencies import CODES
from serving.api.gate.routes import SCOPE
from serving.api.replies.document import Accepted, AcceptedMany
from serving.api.replies.lists import accepted, visitor
from serving.api.requests.values import Amount, Body, Flag, Id, Moment, PlacementName, random_id
from serving.api.state import State, call_of, response
from serving.events.clock import CLOCK
from serving.events.message import FEEDBACK, NOT_INTERESTED, Message, Sender, feedback_message

MOST_MESSAGES = 500
_KINDS = sorted(FEEDBACK.keys() - {"impression", "refund"})
_LIMITS: Final = Limits()
_NOBODY: Final = frozenset(placeholder_ids.PEOPLE)
_FIRST: Final = datetime(1990, 1, 1, tzinfo=UTC)
router = APIRouter(tags=["feedback"])
_WRITES = {SCOPE: "write"}
_ABOUT_VISITORS: Final = {"user", "session", "consent", "message_id"}
"""Fields that are no part of an act."""


def _ensured(holds: Callable[[Any], bool], fault: str) -> AfterValidator:
    """Return the check of a value by a rule of the lake."""

    def check(value: Any) -> Any:
        if not holds(value):
            raise ValueError(fault)
        return value

    return AfterValidator(check)


Kind = Annotated[
    str, _ensured(_KINDS.__contains__, f"it is none of {', '.join(_KINDS)}"), Field(json_schema_extra={"enum": _KINDS})
]
Currency = Annotated[
    str, Field(pattern="^[A-Z]{3}$"), _ensured(CODES.__contains__, "it is no currency code by ISO 4217, such as EUR")
]
ActMoment = Annotated[
    Moment,
    _ensured(
        lambda at: _FIRST <= at <= CLOCK.now() + timedelta(days=1), "it is before 1990, or more than a day from now"
    ),
]
_EXAMPLE: Final[dict[str, JsonValue]] = {
    "kind": "not_interested",
    "item_id": "995242",
    "user": "1",
    "recommendation_id": "0f8fad5bd9cb469fa16570867728950e",
    "placement": "home",
    "position": 1,
}


class FeedbackBody(Body):
    """What a visitor did with an item. It needs a user or a session.

    The bounds are those by which the event is accepted into the lake (`expectations.batches`).
    """

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    kind: Kind
    item_id: Id
    user: Id | None = None
    session: Id | None = None
    consent: Flag | None = Field(default=None, description="The visitor's consent, if your page asked for it.")
    message_id: Id | None = Field(default=None, description="Your id of this message, so that a repetition is one.")
    occurred_at: ActMoment | None = Field(default=None, description="With a time zone; by default now.")
    recommendation_id: Annotated[str, Field(pattern="^[A-Za-z0-9-]{1,64}$")] | None = None
    placement: PlacementName | None = None
    position: Annotated[int, Field(strict=True, ge=1, le=100_000)] | None = None
    quantity: Annotated[Amount, Field(gt=0, le=_LIMITS.highest_quantity)] | None = None
    value: Annotated[Amount, Field(gt=0, le=_LIMITS.highest_value)] | None = None
    currency: Currency | None = None
    rating: Annotated[Amount, Field(le=1000)] | None = None

    @model_validator(mode="after")
    def _about_somebody(self) -> "FeedbackBody":
        if self.user is None and self.session is None:
            raise ValueError("it names neither a user nor a session")
        if (self.user or self.session) in _NOBODY:
            raise ValueError("the id of the user, or of the session without a user, identifies nobody")
        if self.kind == "rating" and self.rating is None:
            raise ValueError("a rating needs the field rating")
        return self


class FeedbackBatch(Body):
    """Several acts."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"messages": [_EXAMPLE]}]})

    messages: Annotated[tuple[FeedbackBody, ...], Field(min_length=1, max_length=MOST_MESSAGES)]


@router.post("/v1/feedback", response_model=Accepted, status_code=202, openapi_extra=_WRITES)
async def feedback(body: FeedbackBody, request: Request) -> Response:
    """State what a visitor did with an item. It is durable when the answer arrives, and part of the next data set.

    `not_interested` hides the item from the user at once.
    """
    call = call_of(request)
    reply = await accepted(call, _message(call.state, body))
    _hide(call.state, body)
    return response(reply)


@router.post("/v1/batch/feedback", response_model=AcceptedMany, status_code=202, openapi_extra=_WRITES)
async def feedback_of_many(batch: FeedbackBatch, request: Request) -> Response:
    """State several acts, which are stored together."""
    call = call_of(request)
    reply = await accepted(call, *(_message(call.state, one) for one in batch.messages), many=True)
    for one in batch.messages:
        _hide(call.state, one)
    return response(reply)


def _hide(state: State, body: FeedbackBody) -> None:
    """Hide an item in this process; the others are notified."""
    if body.kind == NOT_INTERESTED:
        answers = state.parts.answers
        answers.hide(visitor(state, body.user, body.session, None), answers.product(body.item_id))


def _message(state: State, body: FeedbackBody) -> Message:
    pseudonyms = state.pseudonyms
    acting = visitor(state, body.user, body.session, None)
    earlier_key = None if body.session is None else pseudonyms.of(body.session)
    keys = acting.user_key, acting.session_key, body.user, body.consent, earlier_key
    sender = Sender(pseudonyms.key_version, *keys)
    act = body.model_dump(exclude=_ABOUT_VISITORS, exclude_none=True)
    product = state.parts.answers.product(body.item_id)
    return feedback_message(act, sender, body.message_id or random_id(), product)

"""Models of feedback."""

from typing import Annotated, Final

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, model_validator

from serving.api.requests.bodies import Amount, Body, Flag, Moment
from serving.api.requests.ids import Id
from serving.api.requests.parameters import PLACEMENT_PATTERN
from serving.events.messages import FEEDBACK, Feedback

MOST_MESSAGES = 500
_KINDS = sorted(FEEDBACK.keys() - {"impression", "refund"})


def _known(kind: str) -> str:
    if kind not in _KINDS:
        raise ValueError(f"it is none of {', '.join(_KINDS)}")
    return kind


Kind = Annotated[str, AfterValidator(_known), Field(json_schema_extra={"enum": _KINDS})]
_EXAMPLE: Final[dict[str, JsonValue]] = {
    "kind": "not_interested",
    "item_id": "995242",
    "user": "1",
    "recommendation_id": "0f8fad5bd9cb469fa16570867728950e",
    "placement": "home",
    "position": 1,
}


class FeedbackBody(Body):
    """What a visitor did with an item. It needs a user or a session."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    kind: Kind
    item_id: Id
    user: Id | None = None
    session: Id | None = None
    consent: Flag | None = Field(default=None, description="The visitor's consent, if your page asked for it.")
    message_id: Id | None = Field(default=None, description="Your id of this message, so that a repetition is one.")
    occurred_at: Moment | None = Field(default=None, description="With a time zone; by default now.")
    recommendation_id: Annotated[str, Field(pattern="^[A-Za-z0-9-]{1,64}$")] | None = None
    placement: Annotated[str, Field(pattern=PLACEMENT_PATTERN)] | None = None
    position: Annotated[int, Field(strict=True, ge=1, le=100_000)] | None = None
    quantity: Amount | None = None
    value: Amount | None = None
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] | None = None
    rating: Amount | None = None

    @model_validator(mode="after")
    def _about_somebody(self) -> "FeedbackBody":
        if self.user is None and self.session is None:
            raise ValueError("it names neither a user nor a session")
        if self.kind == "rating" and self.rating is None:
            raise ValueError("a rating needs the field rating")
        return self


class FeedbackBatch(Body):
    """Several acts."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"messages": [_EXAMPLE]}]})

    messages: Annotated[tuple[FeedbackBody, ...], Field(min_length=1, max_length=MOST_MESSAGES)]


def act_of(body: FeedbackBody) -> Feedback:
    """Return the act without the visitor."""
    return Feedback(
        body.kind,
        body.item_id,
        body.occurred_at,
        body.recommendation_id,
        body.placement,
        body.position,
        body.quantity,
        body.value,
        body.currency,
        body.rating,
    )

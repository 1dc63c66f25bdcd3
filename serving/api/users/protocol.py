"""Models of requests about users."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from serving.api.replies.problems import Fault, RefusedRequestError
from serving.api.requests.bodies import Body, Flag, ShortText
from serving.api.requests.ids import Id
from serving.api.requests.parameters import MOST_CONTEXT, MOST_ITEMS, PLACEMENT_PATTERN
from serving.events.messages import UserChange

MOST_USERS = 100


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


def user_change(update: UserUpdate, allowed: tuple[str, ...]) -> UserChange:
    """Return the change. Raises RefusedRequestError for traits that are not allowed."""
    if unknown := sorted(set(update.traits) - set(allowed)):
        known = ", ".join(allowed) or "none"
        detail = f"{len(unknown)} traits are not on the allow-list TAILORBIRD_USER_TRAITS, which has {known}."
        raise RefusedRequestError([Fault("/traits", detail)])
    return UserChange(update.traits, [(one.kind, one.value) for one in update.exclusions])

"""An answer that a visitor was shown, and its message to the inbox."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from models.primitives.json_types import JsonObject
from serving.events.clock import CLOCK
from serving.events.message import Message


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """An answer with its place on the page, as it was given."""

    recommendation_id: str
    placement: str
    items: Sequence[str]
    """Best first."""
    source: str
    key_version: int
    user_key: str | None = None
    session_key: str | None = None
    first_position: int = 1
    """The rank of the first item: above 1 on later pages."""
    batch_id: int | None = None
    model_version: int | None = None
    variant: str | None = None
    propensity: float | None = None
    consent: bool | None = None
    """The consent that the request states; None if it states none."""
    shown_at: datetime = field(default_factory=CLOCK.now)


def message_of(shown: ShownAnswer) -> Message:
    """Return the message of an answer that was shown."""
    payload: JsonObject = {
        "placement": shown.placement,
        "items": list(shown.items),
        "first_position": shown.first_position,
        "batch_id": shown.batch_id,
        "model_version": shown.model_version,
        "variant": shown.variant,
        "propensity": shown.propensity,
        "source": shown.source,
    }
    return Message(
        shown.recommendation_id,
        "impressions",
        payload,
        shown.shown_at,
        shown.key_version,
        shown.user_key,
        shown.session_key,
        shown.consent,
    )

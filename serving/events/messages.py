"""Builds the messages of the API: feedback on items, updates of items and of users."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from models.columns import EVENT_TYPES
from models.primitives.json_types import JsonObject
from serving.events.clock import CLOCK
from serving.events.message import Message

NOT_INTERESTED: Final = "not_interested"
FEEDBACK: Final[Mapping[str, str]] = MappingProxyType(
    {kind: kind for kind in EVENT_TYPES} | {"dismiss": "dislike", NOT_INTERESTED: "dislike"}
)
"""The event type of each kind of feedback. After "not interested" the item is hidden, too."""


@dataclass(frozen=True)
class Sender:
    """The user or device that a message is about, and the version of the keys of its pseudonyms."""

    key_version: int
    user_key: str | None = None
    session_key: str | None = None
    user_id: str | None = None
    """The caller's own id of the user."""
    consent: bool | None = None
    """The consent that the message states; None if it states none."""
    earlier_key: str | None = None
    """The key that the id of the session has as the id of a user."""


@dataclass(frozen=True)
class Feedback:
    """An act of a visitor. Times are with a time zone."""

    kind: str
    """A key of `FEEDBACK`."""
    item_id: str
    occurred_at: datetime | None = None
    """None: when the message is received."""
    recommendation_id: str | None = None
    placement: str | None = None
    position: int | None = None
    quantity: float | None = None
    value: float | None = None
    currency: str | None = None
    rating: float | None = None


@dataclass(frozen=True)
class ItemChange:
    """New values of an item; those that are None stay as they are."""

    item_id: str
    title: str | None = None
    category: str | None = None
    brand: str | None = None
    price: float | None = None
    currency: str | None = None
    url: str | None = None
    image: str | None = None
    in_stock: bool | None = None
    hidden: bool | None = None
    """True hides the item in all lists, false shows it again."""
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class UserChange:
    """What a user states: traits of the allow-list, and what must not be shown."""

    traits: Mapping[str, str] = field(default_factory=dict)
    exclusions: Sequence[tuple[str, str]] = ()
    """Kind (item, brand or category) and value."""


def feedback_message(act: Feedback, sender: Sender, message_id: str) -> Message:
    """Return the message of an act."""
    payload = _stated(act) | {"event_type": FEEDBACK[act.kind]}
    del payload["kind"]
    if act.kind == NOT_INTERESTED:
        payload["exclusions"] = [{"kind": "item", "value": act.item_id}]
    return _message("event", payload, sender, message_id)


def item_message(change: ItemChange, key_version: int, message_id: str) -> Message:
    """Return the message of new values of an item."""
    return _message("item", _stated(change), Sender(key_version), message_id)


def user_message(change: UserChange, sender: Sender, message_id: str, allowed: Sequence[str]) -> Message:
    """Return the message of a user's statements; traits that are not `allowed` are left out."""
    payload: JsonObject = {"traits": {name: change.traits[name] for name in allowed if name in change.traits}}
    if change.exclusions:
        payload["exclusions"] = [{"kind": kind, "value": value} for kind, value in change.exclusions]
    return _message("user", payload, sender, message_id)


def _stated(statement: Feedback | ItemChange) -> JsonObject:
    values = {one.name: getattr(statement, one.name) for one in fields(statement)}
    stated = {name: value for name, value in values.items() if value is not None and value != {}}
    return {
        name: value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
        for name, value in stated.items()
    }


def _message(kind: str, payload: JsonObject, sender: Sender, message_id: str) -> Message:
    return Message(
        message_id,
        kind,  # type: ignore[arg-type]
        payload,
        CLOCK.now(),
        sender.key_version,
        sender.user_key,
        sender.session_key,
        sender.consent,
        sender.user_id,
        earlier_key=sender.earlier_key,
    )

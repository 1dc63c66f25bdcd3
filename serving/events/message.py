"""Defines a message on its way to the inbox: with pseudonyms in place of user ids. Builds those of the API."""

import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, Literal, Self

import orjson

from infra.keys.credentials import Pseudonyms
from models.columns import CLAIM, EVENT_TYPES, RECOMMENDATION_ID, SERVER
from models.errors import TailorbirdError
from models.primitives.json_types import JsonObject
from models.primitives.time import read_moment
from serving.events.clock import CLOCK

Kind = Literal["event", "item", "user", "impressions", "answers", "call", "score"]
"""What a message states. `answers` are many answers that were shown; other programs send one, as `impressions`.
`score` asks for lists of a segment."""
Receipt = Literal["stored", "spooled", "duplicate", "conflict"]
"""What became of a message: durable in Postgres, durable on disk, known already, or refused because the same id came
with another content."""
SOURCE = "api"
"""The source of the API's own messages."""
ACTS: Final = frozenset(("view", "click", "consume", "add_to_cart", "wishlist", "purchase", "like"))
"""The event types that show interest in an item, and so belong to a session profile."""
_ESCAPED: Final = b"\\u0000"
_NUL = re.compile(rb"(?<!\\)(\\\\)*\\u0000")


class RefusedMessageError(TailorbirdError):
    """A message holds a value that cannot be stored."""


@dataclass(frozen=True, slots=True)
class Effects:
    """What counts as soon as a message is stored, before it moves."""

    stated_at: datetime
    acted_on: tuple[str, ...] = ()
    """The items that the session profile gets."""
    kind: str | None = None
    """The type of the event on them."""
    agrees: bool = False
    """Whether the profile may be stored for a visitor whose answer is unknown."""
    answer: bool | None = None
    """An answer about consent; None if there is none."""
    joined: tuple[str, ...] = ()
    """The keys of devices and earlier ids whose clicks are the user's from now on."""
    viewed: tuple[str, str] | None = None
    """An experiment and the variant of it that another program showed."""


@dataclass(frozen=True)
class Message:
    """A statement of an application about an event, an item or a user, or answers that were shown."""

    message_id: str
    """Unique for its source: the caller's own id, so that a repeated request has one effect."""
    kind: Kind
    payload: JsonObject
    """What it states; `tasks/ingest/inbox` reads it. It holds no user id and no pseudonym."""
    received_at: datetime
    key_version: int
    """The number of keys in the chain that made the pseudonyms."""
    user_key: str | None = None
    session_key: str | None = None
    consent: bool | None = None
    """The answer of the user in this message; None if it has none."""
    user_id: str | None = None
    """The caller's own id of the user. It goes to `identity.users` and to no other place."""
    source: str = SOURCE
    authority: str = SERVER
    """Who states the user: one of the values of `columns.AUTHORITY`."""
    earlier_key: str | None = None
    """The key that the device's id has as the id of a user."""
    charged: tuple[str, int] | None = None
    """The page key whose daily quota pays for the message, and the bytes."""

    @cached_property
    def body(self) -> str:
        """Return the payload as JSON. Raises RefusedMessageError for a text that Postgres cannot store."""
        try:
            payload = orjson.dumps(self.payload)
            texts = orjson.dumps([self.message_id, self.user_id, self.source]) + payload
        except TypeError as error:
            raise RefusedMessageError(f"The message is no valid text: {error}.") from None
        if _ESCAPED in texts and _NUL.search(texts):
            raise RefusedMessageError("A text contains the character NUL, which cannot be stored. Send it without.")
        return payload.decode()

    @cached_property
    def digest(self) -> bytes | None:
        """Return the SHA-256 of the statements, without the time of receipt; None for answers that were shown."""
        if self.kind in ("impressions", "answers"):
            return None
        stated = [self.kind, self.user_key, self.session_key, self.consent, self.digested]
        return hashlib.sha256(orjson.dumps(stated, option=orjson.OPT_SORT_KEYS)).digest()

    @property
    def digested(self) -> JsonObject:
        """Return the part of the payload that a repeated message shares."""
        return self.payload

    @property
    def effects(self) -> Effects:
        """Return what counts at once."""
        is_act = self.kind == "event" and self.payload["event_type"] in ACTS
        at = read_moment(self.payload.get("occurred_at")) if is_act else None
        return Effects(
            at or self.received_at,
            (self.payload["item_id"],) if is_act else (),
            self.payload["event_type"] if is_act else None,
            bool(self.consent),
            self.consent if self.kind == "user" and self.user_key else None,
        )

    @property
    def size(self) -> int:
        """Return how many messages this counts as: each answer that was shown is one."""
        return len(self.payload[RECOMMENDATION_ID]) if self.kind == "answers" else 1

    @property
    def name(self) -> tuple[str, str]:
        """Return the source and the id, which no other message has."""
        return self.source, self.message_id

    @property
    def subject(self) -> str | None:
        """Return the key of the user, or of the device of an unknown user."""
        return self.user_key or self.session_key

    @property
    def speaker(self) -> str | None:
        """Return the key whose answers and traits the message can state: of a user whom a page claims, the device."""
        return self.session_key if self.authority == CLAIM else self.subject

    def to_json(self) -> bytes:
        """Return the message as one line of JSON."""
        fields = {name: value for name, value in vars(self).items() if name in self.__dataclass_fields__}
        return orjson.dumps({name: value for name, value in fields.items() if value is not None})

    @classmethod
    def from_json(cls, line: bytes) -> Self:
        """Return the message of `to_json`."""
        fields: dict[str, Any] = orjson.loads(line)
        return cls(**fields | {"received_at": datetime.fromisoformat(fields["received_at"])})


def size_of(messages: Sequence[Message]) -> int:
    """Return how many messages these count as."""
    return sum(message.size for message in messages)


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


def feedback_message(act: JsonObject, sender: Sender, message_id: str, product: str | None = None) -> Message:
    """Return the message of an act: its `kind`, a key of `FEEDBACK`, its `item_id`, and what was stated of the event.

    `product` is the item if `item_id` is one of its variants. Without `occurred_at` it happened when the message was
    received.
    """
    payload = act | {"event_type": FEEDBACK[act["kind"]]}
    del payload["kind"]
    if at := payload.get("occurred_at"):
        payload["occurred_at"] = at.astimezone(UTC).isoformat()
    if act["kind"] == NOT_INTERESTED:
        payload["exclusions"] = [{"kind": "item", "value": product or act["item_id"]}]
    return _message("event", payload, sender, message_id)


def item_message(change: JsonObject, key_version: int, message_id: str) -> Message:
    """Return the message of new values of the item `item_id`; what is not stated stays as it is."""
    return _message("item", change, Sender(key_version), message_id)


def user_message(
    traits: Mapping[str, str],
    exclusions: Iterable[tuple[str, str]],
    sender: Sender,
    message_id: str,
    unset: Sequence[str] = (),
) -> Message:
    """Return the message of a user's statements: traits, what must not be shown, and the traits to `unset`."""
    payload: JsonObject = {"traits": {**traits}, **({"unset": [*unset]} if unset else {})}
    if hidden := [{"kind": kind, "value": value} for kind, value in exclusions]:
        payload["exclusions"] = hidden
    return _message("user", payload, sender, message_id)


def correction(pseudonyms: Pseudonyms, user_id: str, traits: Mapping[str, str | None]) -> Message:
    """Return the message that corrects traits of a user; None unsets one."""
    sender = Sender(pseudonyms.key_version, pseudonyms.of(user_id), None, user_id)
    stated = {name: value for name, value in traits.items() if value is not None}
    return user_message(stated, (), sender, secrets.token_hex(16), [name for name in traits if name not in stated])


def _message(kind: Kind, payload: JsonObject, sender: Sender, message_id: str) -> Message:
    return Message(message_id, kind, payload, CLOCK.now(), **vars(sender))

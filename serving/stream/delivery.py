"""Defines what a consumer receives from a broker and publishes there; makes messages and letters of deliveries."""

import hashlib
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, Protocol
from urllib.parse import urlsplit

from infra.configuration import addresses
from models.errors import TailorbirdError
from models.ingest.segment.fields import TYPES
from models.ingest.segment.single_calls import FAULT
from models.primitives.json_types import JsonObject
from serving.collector.bodies import MOST_BYTES, CallMessage, SentCalls, UnusableBodyError, calls_of, parsed, unpacked
from serving.collector.collector import Collector
from serving.events.clock import CLOCK
from serving.events.message import Effects

EVENT: Final = "recommendation.updated"
EXCHANGE: Final = "tailorbird.recommendations"
"""Where brokers deliver them: an exchange of RabbitMQ, or a topic of Kafka."""


@dataclass(frozen=True)
class Update:
    """One list of a user, whole: a later one replaces it."""

    user_id: str
    """The caller's own id of a user who consents; the messages of one user belong together in their order."""
    placement: str
    body: bytes
    """JSON."""


QUEUE: Final = "tailorbird.events"


class BrokerDownError(TailorbirdError):
    """The broker cannot be reached."""


class Stream(Protocol):
    """A consumer of one queue or topic, which also publishes."""

    def running(self) -> AbstractAsyncContextManager[None]:
        """Consume meanwhile. Raises BrokerDownError, and TailorbirdError if the broker refuses."""

    async def lag(self) -> int:
        """Return the number of messages that wait in the broker. Raises BrokerDownError."""

    async def publish(self, updates: Sequence[Update]) -> None:
        """Return when the broker has confirmed all. Raises BrokerDownError."""


def is_kafka(url: str) -> bool:
    """Tell a Kafka from a RabbitMQ."""
    return urlsplit(url).scheme in addresses.KAFKA


def queue_of(url: str, given: str | None) -> str:
    """Return the name of the queue or topic: as given, else as the address of a Kafka has it, else the usual one.

    Raises AddressRefusedError.
    """
    addresses.broker(url, "The address of the broker")
    return given or (is_kafka(url) and urlsplit(url).path.strip("/")) or QUEUE


Reason = Literal["malformed", "too_large", "id_conflict", "poison", "broker"]
"""Why a message is a dead letter: it is no call, it is too large to be kept, its id came before with another content,
it failed each time, or the broker gave it up."""
HEAD_BYTES: Final = 4096
"""The part that is kept of a message that is too large."""
MOST_ATTEMPTS: Final = 5
"""The attempts to store a message that fails for a reason of its own. An outage counts as none."""
_FIRST: Final = 0.2
_LONGEST: Final = 10.0


@dataclass(frozen=True)
class Delivery:
    """A message as a broker delivers it."""

    body: bytes
    received_at: datetime
    message_id: str | None = None
    """The broker's own id, which counts if the call states none."""
    encoding: str = ""
    attempts: int = 0
    """How often it has failed."""
    cut: str = ""
    """If `body` is only the head of a message that is too large: a sentence with the size and the hash of the whole."""


@dataclass(frozen=True)
class DeadLetter:
    """A message that is kept for a person to look at."""

    delivery: Delivery
    reason: Reason
    detail: str
    """What is wrong, in a sentence without values of the message."""


def received(body: bytes, message_id: str | None, encoding: str) -> Delivery:
    """Return a delivery that came now, of which nothing stays in memory but the head if it is too large."""
    cut = ""
    if len(body) > MOST_BYTES:
        cut = (
            f"It has {len(body):,} bytes, and {MOST_BYTES:,} are allowed. Only the first {HEAD_BYTES:,} are kept: it "
            f"cannot be replayed. The SHA-256 of the whole is {hashlib.sha256(body).hexdigest()}."
        )
    return Delivery(body[:HEAD_BYTES] if cut else body, CLOCK.now(), message_id, encoding, cut=cut)


@dataclass
class Pauses:
    """Pauses that double with each failure, up to ten seconds."""

    failures: int = 0

    def next(self) -> float:
        """Return the seconds until the next attempt."""
        self.failures += 1
        return min(_FIRST * 2.0 ** min(self.failures - 1, 10), _LONGEST)

    def reset(self) -> None:
        """Start again with short pauses, after a success."""
        self.failures = 0


_ID: Final = "messageId"
_SCORE: Final = "score"
_LONGEST_TEXT: Final = 255


@dataclass(frozen=True)
class MessageReader:
    """Reads deliveries of one source with the collector's mapping."""

    collector: Collector
    source: str

    def read(self, delivery: Delivery) -> list[CallMessage]:
        """Return the messages of a delivery. Raises UnusableBodyError and RefusedMessageError.

        One call that cannot be read makes the whole delivery unusable: its sender has to correct it.
        """
        document = parsed(unpacked(delivery.body, delivery.encoding.lower().encode()))
        if document.get("type") == _SCORE:
            return [self._score_request(document, delivery)]
        sent = calls_of(document, None) if "batch" in document else _single(document, delivery.message_id)
        messages = self.collector.messages(sent, self.source, delivery.received_at)
        for call, message in zip(sent.calls, messages, strict=True):
            if FAULT in message.payload:
                raise UnusableBodyError(f"A call cannot be read: {message.payload[FAULT]}.")
            if str(call.get("type")).lower() not in TYPES:
                raise UnusableBodyError("A call has no type, such as track or identify.")
            _ = message.body, message.digest  # encoded here, so that an unusable text concerns this delivery alone
        return messages

    def _score_request(self, document: JsonObject, delivery: Delivery) -> CallMessage:
        """Return the message that asks for lists of a segment. Raises UnusableBodyError."""
        segment, name = document.get("segment"), document.get(_ID) or delivery.message_id
        for text in (segment, name):
            if not isinstance(text, str) or not 0 < len(text) <= _LONGEST_TEXT:
                raise UnusableBodyError("A message of the type score needs a segment and a messageId, as texts.")
        at, version = delivery.received_at, self.collector.pseudonyms.key_version
        payload = {"segment": segment}
        made = CallMessage(str(name), _SCORE, payload, at, version, source=self.source, at_once=Effects(at))
        _ = made.body, made.digest
        return made


def _single(document: JsonObject, message_id: str | None) -> SentCalls:
    call = document if document.get(_ID) or not message_id else {**document, _ID: message_id}
    return SentCalls([call], document.get("sentAt"), {})

"""Makes messages of deliveries: a call of Segment's specification, a batch of calls, or a request for a segment."""

from dataclasses import dataclass
from typing import Final

from models.ingest.segment.fields import TYPES
from models.ingest.segment.single_calls import FAULT
from models.primitives.json_types import JsonObject
from serving.collector.bodies import CallMessage, SentCalls, UnusableBodyError, calls_of, parsed, unpacked
from serving.collector.collector import Collector
from serving.events.message import Effects
from serving.stream.delivery import Delivery

_ID: Final = "messageId"
_SCORE: Final = "score"
_LONGEST: Final = 255


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
            if not isinstance(text, str) or not 0 < len(text) <= _LONGEST:
                raise UnusableBodyError("A message of the type score needs a segment and a messageId, as texts.")
        at, version = delivery.received_at, self.collector.pseudonyms.key_version
        payload = {"segment": segment}
        made = CallMessage(str(name), _SCORE, payload, at, version, source=self.source, at_once=Effects(at))
        _ = made.body, made.digest
        return made


def _single(document: JsonObject, message_id: str | None) -> SentCalls:
    call = document if document.get(_ID) or not message_id else {**document, _ID: message_id}
    return SentCalls([call], document.get("sentAt"), {})

"""Makes messages of deliveries: a call of Segment's specification, or a batch of calls."""

from dataclasses import dataclass

from models.ingest.segment.json_lines import TYPES
from models.ingest.segment.single_calls import FAULT
from models.primitives.json_types import JsonObject
from serving.collector.bodies import SentCalls, UnusableBodyError, calls_of, parsed, unpacked
from serving.collector.call_message import CallMessage
from serving.collector.collector import Collector
from serving.stream.delivery import Delivery

_ID = "messageId"


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
        sent = calls_of(document, None) if "batch" in document else _single(document, delivery.message_id)
        messages = self.collector.messages(sent, self.source, delivery.received_at)
        for call, message in zip(sent.calls, messages, strict=True):
            if FAULT in message.payload:
                raise UnusableBodyError(f"A call cannot be read: {message.payload[FAULT]}.")
            if str(call.get("type")).lower() not in TYPES:
                raise UnusableBodyError("A call has no type, such as track or identify.")
            _ = message.body, message.digest  # encoded here, so that an unusable text concerns this delivery alone
        return messages


def _single(document: JsonObject, message_id: str | None) -> SentCalls:
    call = document if document.get(_ID) or not message_id else {**document, _ID: message_id}
    return SentCalls([call], document.get("sentAt"), {})

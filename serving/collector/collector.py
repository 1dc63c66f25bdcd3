"""Makes messages of calls: with pseudonyms and marks in place of ids, addresses and user agents."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

import orjson

from models.ingest.segment.config import SegmentMapping
from models.ingest.segment.sent_clock import SENT_AT, occurred_at
from models.ingest.segment.single_calls import FAULT, FOUND_MARKS, CallReader, SingleCall, word
from models.ingest.traffic.traffic_filter import LONGEST_ID
from models.primitives.json_types import JsonObject
from serving.collector.bodies import MOST_CALL_BYTES, SentCalls
from serving.collector.call_message import CallMessage
from serving.collector.traffic_marks import TrafficMarks
from serving.events.message import ACTS, Effects

_JOINS: Final = frozenset(("identify", "alias"))


class Pseudonyms(Protocol):
    """The pseudonyms of the installation."""

    @property
    def key_version(self) -> int:
        """Return the number of keys in the chain."""

    def of(self, name: str) -> str:
        """Return the key of a user or device."""


@dataclass(frozen=True)
class Collector:
    """Reads calls by one mapping."""

    pseudonyms: Pseudonyms
    reader: CallReader
    marks: TrafficMarks
    placeholders: frozenset[str]
    assumes_consent: bool
    """Whether the mapping takes the events of users without an answer."""

    @classmethod
    def of(cls, mapping: SegmentMapping, pseudonyms: Pseudonyms) -> "Collector":
        """Return the collector of a mapping."""
        return cls(
            pseudonyms,
            CallReader.of(mapping),
            TrafficMarks(mapping.traffic),
            frozenset(mapping.placeholders),
            mapping.consent != "opt-in",
        )

    def messages(self, sent: SentCalls, source: str, received_at: datetime) -> list[CallMessage]:
        """Return one message per call. A call that cannot be read becomes a fault, which the ledger counts."""
        made = []
        for call in sent.calls:
            fault = _fault_of(call)
            if fault is None:
                made.append(self._message(_with_context(call, sent.context), sent.sent_at, source, received_at))
            else:
                made.append(self._faulty(call, fault, source, received_at))
        return made

    def _message(self, call: JsonObject, sent_at: Any, source: str, received_at: datetime) -> CallMessage:
        read = self.reader.read(call)
        payload, user_id = read.payload, read.user_id
        if isinstance(sent_at or call.get(SENT_AT), str):
            payload[SENT_AT] = sent_at or call[SENT_AT]
        marks = self.marks.of(read)
        if marks:
            payload[FOUND_MARKS] = marks
        user_key = user_id and self.pseudonyms.of(user_id)
        device_key = read.device_id and self.pseudonyms.of(read.device_id)
        is_person = all(map(self._is_person, filter(None, (user_id, read.device_id))))
        return CallMessage(
            read.message_id or _id_of([user_key, device_key, {**payload, SENT_AT: None}]),
            "call",
            payload,
            received_at,
            self.pseudonyms.key_version,
            user_key,
            device_key,
            read.consent,
            user_id if is_person else None,
            source,
            at_once=self._effects(read, received_at) if is_person and not marks else Effects(received_at),
        )

    def _effects(self, read: SingleCall, received_at: datetime) -> Effects:
        moment = occurred_at(read.payload, received_at)
        is_act, consent = read.interaction.event_type in ACTS, read.consent
        return Effects(
            moment if isinstance(moment, datetime) else received_at,
            read.interaction.items if is_act else (),
            self.assumes_consent or bool(consent),
            # As for files: an agreement counts for good if the call states nothing else.
            consent if consent is False or not read.interaction.event_type else None,
            read.kind in _JOINS,
        )

    def _faulty(self, call: Any, fault: str, source: str, received_at: datetime) -> CallMessage:
        """Return the message of a call that cannot be read. Its text is not kept: any of its values may be an id."""
        text = _text(call) or _text([call.get("messageId") if isinstance(call, dict) else None])
        payload = {FAULT: fault, "sha256": hashlib.sha256(text).hexdigest()}
        version, effects = self.pseudonyms.key_version, Effects(received_at)
        return CallMessage(_id_of(payload), "call", payload, received_at, version, source=source, at_once=effects)

    def _is_person(self, name: str) -> bool:
        return name not in self.placeholders and len(name) <= LONGEST_ID


def _with_context(call: JsonObject, shared: JsonObject) -> JsonObject:
    """Return a call with the context of its batch, as far as it states none of its own."""
    own = call.get("context")
    return {**call, "context": {**shared, **(own if isinstance(own, dict) else {})}} if shared else call


def _fault_of(call: Any) -> str | None:
    if not isinstance(call, dict):
        return "not_an_object"
    if len(word(call.get("messageId")) or "") > LONGEST_ID:
        return "message_id_too_long"
    size = len(_text(call))
    return "nested_too_deeply" if not size else "too_large" if size > MOST_CALL_BYTES else None


def _text(stated: Any) -> bytes:
    """Return JSON; empty for a value that is nested too deeply."""
    try:
        return orjson.dumps(stated, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        return b""


def _id_of(stated: Any) -> str:
    """Return an id for a call without one: the same for the same statements."""
    return f"sha256:{hashlib.sha256(_text(stated)).hexdigest()[:32]}"

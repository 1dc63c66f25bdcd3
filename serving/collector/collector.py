"""Makes messages of calls: with pseudonyms and marks in place of ids, addresses and user agents."""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson
import pyarrow as pa

from infra.keys.api_keys import KeyKind
from infra.keys.credentials import Pseudonyms
from models import columns
from models.ingest.segment.event_types import SENT_AT
from models.ingest.segment.segment_mapping import SegmentMapping
from models.ingest.segment.single_calls import (
    ALIAS,
    FAULT,
    FOUND_MARKS,
    JOINING,
    CallReader,
    SingleCall,
    occurred_at,
    word,
)
from models.ingest.source_config import INTERNAL, LONGEST_ID, ROBOT, USER_ID_TOO_LONG, Traffic, marked
from models.primitives.json_types import JsonObject
from serving.collector.bodies import MOST_CALL_BYTES, CallMessage, SentCalls
from serving.events.message import ACTS, Effects

_REMEMBERED: Final = 10_000
_LONGEST_AGENT: Final = 1_000


class TrafficMarks:
    """Applies a source's rules of traffic to single calls."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic, self._internal_users = traffic, frozenset(traffic.internal_users)
        self._of_origin = lru_cache(_REMEMBERED)(self._find)

    def of(self, call: SingleCall) -> list[str]:
        """Return the marks of a call; mostly none."""
        marks = []
        if call.user_agent or call.address:
            marks += self._of_origin((call.user_agent or "")[:_LONGEST_AGENT], (call.address or "")[:LONGEST_ID])
        user = call.user_id or call.device_id
        if user in self._internal_users and INTERNAL not in marks:
            marks.append(INTERNAL)
        if user and len(user) > LONGEST_ID:
            marks.append(USER_ID_TOO_LONG)
        return marks

    def _find(self, agent: str, address: str) -> list[str]:
        rows = pa.table({columns.USER_ID: [""], columns.USER_AGENT: [agent], columns.IP: [address]})
        found = marked(rows, self._traffic)
        return [mark for mark in (ROBOT, INTERNAL) if found[mark][0].as_py()]


class Signatures(NamedTuple):
    """Confirms the users that pages name, by the secret of the shop's server."""

    secret: str = ""
    required: bool = False
    """Whether a page names nobody without a signature."""

    def confirm(self, user_id: str, signature: str | None) -> bool:
        """Return whether a signature is the HMAC-SHA-256 of the id in hexadecimal digits, by the secret."""
        expected = hmac.digest(self.secret.encode(), user_id.encode(), "sha256").hex()
        return bool(self.secret and signature) and hmac.compare_digest(expected.encode(), (signature or "").encode())


UNSIGNED: Final = Signatures()
"""No secret is known, so that every user of a page is a claim."""


@dataclass(frozen=True)
class Collector:
    """Reads calls by one mapping."""

    pseudonyms: Pseudonyms
    reader: CallReader
    marks: TrafficMarks
    placeholders: frozenset[str]
    assumes_consent: bool
    """Whether the mapping takes the events of users without an answer."""
    signatures: Signatures

    @classmethod
    def of(cls, mapping: SegmentMapping, pseudonyms: Pseudonyms, signatures: Signatures = UNSIGNED) -> "Collector":
        """Return the collector of a mapping."""
        return cls(
            pseudonyms,
            CallReader.of(mapping),
            TrafficMarks(mapping.traffic),
            frozenset(mapping.placeholders),
            mapping.consent != "opt-in",
            signatures,
        )

    def messages(
        self, sent: SentCalls, source: str, received_at: datetime, kind: KeyKind = "server"
    ) -> list[CallMessage]:
        """Return one message per call, by a key of this kind.

        A call that cannot be read becomes a fault, which the ledger counts.
        """
        made = []
        for call in sent.calls:
            fault = _fault_of(call)
            if fault is None:
                read = self.reader.read(_with_context(call, sent.context))
                sent_at = sent.sent_at or call.get(SENT_AT)
                made.append(self._message(self._vouched(read, kind), sent_at, source, received_at, _viewed(call)))
            else:
                made.append(self._faulty(call, fault, source, received_at))
        return made

    def _vouched(self, read: SingleCall, kind: KeyKind) -> tuple[SingleCall, str]:
        """Return a call, and who states its user; without the user where a signature is required and missing."""
        if kind == "server":
            return read, columns.SERVER
        if read.user_id is None:
            return read, columns.PAGE
        if self.signatures.confirm(read.user_id, read.user_hash):
            return read, columns.SIGNED
        return (read._replace(user_id=None), columns.PAGE) if self.signatures.required else (read, columns.CLAIM)

    def _message(
        self,
        vouched: tuple[SingleCall, str],
        sent_at: Any,
        source: str,
        received_at: datetime,
        viewed: tuple[str, str] | None,
    ) -> CallMessage:
        read, authority = vouched
        payload, user_id = read.payload, read.user_id
        if isinstance(sent_at, str) and len(sent_at) <= LONGEST_ID:
            payload[SENT_AT] = sent_at
        marks = self.marks.of(read)
        if marks:
            payload[FOUND_MARKS] = marks
        user_key = user_id and self.pseudonyms.of(user_id)
        device_key = read.device_id and self.pseudonyms.of_device(read.device_id)
        earlier_key = read.device_id and self.pseudonyms.of(read.device_id)
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
            authority,
            earlier_key,
            at_once=Effects(received_at)
            if marks or not is_person
            else self._effects(read, received_at, _joined(read, authority, device_key, earlier_key), viewed),
        )

    def _effects(
        self, read: SingleCall, received_at: datetime, joined: tuple[str, ...], viewed: tuple[str, str] | None
    ) -> Effects:
        moment = occurred_at(read.payload, received_at)
        is_act, consent = read.interaction.event_type in ACTS, read.consent
        return Effects(
            moment if isinstance(moment, datetime) else received_at,
            read.interaction.items if is_act else (),
            read.interaction.event_type,
            self.assumes_consent or bool(consent),
            # As for files: an agreement counts for good if the call states nothing else.
            consent if consent is False or not read.interaction.event_type else None,
            joined,
            viewed,
        )

    def _faulty(self, call: Any, fault: str, source: str, received_at: datetime) -> CallMessage:
        """Return the message of a call that cannot be read. Its text is not kept: any of its values may be an id."""
        text = _text(call) or _text([call.get("messageId") if isinstance(call, dict) else None])
        payload = {FAULT: fault, "sha256": hashlib.sha256(text).hexdigest()}
        version, effects = self.pseudonyms.key_version, Effects(received_at)
        return CallMessage(_id_of(payload), "call", payload, received_at, version, source=source, at_once=effects)

    def _is_person(self, name: str) -> bool:
        return name not in self.placeholders and len(name) <= LONGEST_ID


def _joined(read: SingleCall, authority: str, *keys: str | None) -> tuple[str, ...]:
    """Return the keys that a call makes the user's: of its device, and by a server's alias of an earlier user id."""
    if read.kind not in JOINING:
        return ()
    number = 2 if read.kind == ALIAS and authority == columns.SERVER else 1
    return tuple(key for key in keys[:number] if key)


def _viewed(call: JsonObject) -> tuple[str, str] | None:
    """Return experiment and variant of Segment's event `Experiment Viewed`; None for other calls."""
    properties = call.get("properties")
    if call.get("event") != "Experiment Viewed" or not isinstance(properties, dict):
        return None
    experiment, variant = (
        word(properties.get(f"{name}_name")) or word(properties.get(f"{name}Name"))
        for name in ("experiment", "variation")
    )
    return (experiment, variant) if experiment and variant else None


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

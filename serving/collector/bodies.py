"""Reads calls from bodies as Segment's libraries send them, and stores them: an answer waits until they are durable."""

import asyncio
import json
import math
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from infra.keys.api_keys import ApiKey
from models.errors import TailorbirdError
from models.ingest.segment.event_types import SENT_AT
from models.primitives.json_types import JsonObject
from serving.events.clock import CLOCK
from serving.events.message import Effects, Message

if TYPE_CHECKING:
    from serving.collector.collector import Collector
    from serving.events.writer import EventWriter

MOST_BYTES: Final = 500 * 1024
"""The size of a body after it is unpacked."""
MOST_CALL_BYTES: Final = 32 * 1024
MOST_CALLS: Final = 2_500
_GZIP: Final = zlib.MAX_WBITS | 16
_NUL: Final = b"\\u0000"
_INTEGERS: Final = range(-(2**63), 2**64)
"""The whole numbers that `orjson` reads and writes."""
_HALF_CHARACTER: Final = re.compile("[\0\ud800-\udfff]")


class UnusableBodyError(TailorbirdError):
    """A body holds no calls. Repeating it is of no use."""


class BodyTooLargeError(UnusableBodyError):
    """A body, or the only call in it, is larger than Segment allows."""


class SentCalls(NamedTuple):
    """The calls of a request."""

    calls: list[Any]
    sent_at: Any
    """The time of sending by the clock of the library; None if the calls state their own."""
    context: JsonObject
    """What the batch states for all its calls; a call's own context outweighs it."""


def unpacked(body: bytes, encoding: bytes) -> bytes:
    """Return the plain body. Raises UnusableBodyError."""
    if encoding == b"gzip":
        reader = zlib.decompressobj(_GZIP)
        try:
            body = reader.decompress(body, MOST_BYTES + 1)
        except zlib.error:
            raise UnusableBodyError("The body is no gzip.") from None
        if not reader.eof and len(body) <= MOST_BYTES:
            raise UnusableBodyError("The gzip body is incomplete.")
    if len(body) > MOST_BYTES:
        raise BodyTooLargeError(f"A request may have {MOST_BYTES} bytes. Send fewer calls at once.")
    return body


def parsed(body: bytes) -> JsonObject:
    """Return the object in a body. Raises UnusableBodyError.

    Libraries write what JSON forbids and texts hold by accident, such as half of a character, NaN, or NUL. Such a value
    is replaced, so that the other calls of the batch are not lost.
    """
    try:
        try:
            document = orjson.loads(body)
            is_clean = _NUL not in body
        except orjson.JSONDecodeError:
            document, is_clean = json.loads(body), False
        document = document if is_clean else _cleaned(document)
    except (ValueError, RecursionError):
        raise UnusableBodyError("The body is no valid JSON.") from None
    if not isinstance(document, dict):
        raise UnusableBodyError("The body is no JSON object.")
    return document


def calls_of(document: JsonObject, kind: str | None) -> SentCalls:
    """Return the calls of a body: one of this kind, or a batch without a kind. Raises UnusableBodyError."""
    sent_at = document.get(SENT_AT)
    if kind is not None:
        return SentCalls([{**document, "type": kind}], sent_at, {})
    calls = document.get("batch")
    if not isinstance(calls, list):
        raise UnusableBodyError("The body has no list `batch`.")
    if len(calls) > MOST_CALLS:
        raise BodyTooLargeError(f"A batch may have {MOST_CALLS} calls.")
    context = document.get("context")
    return SentCalls(calls, sent_at, context if isinstance(context, dict) else {})


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return _HALF_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, list):
        return [_cleaned(one) for one in value]
    if isinstance(value, dict):
        return {_cleaned(name): _cleaned(one) for name, one in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return None if isinstance(value, int) and value not in _INTEGERS else value


@dataclass(frozen=True)
class CallMessage(Message):
    """A call of Segment's libraries."""

    at_once: Effects = field(kw_only=True)

    @property
    def effects(self) -> Effects:
        """Return what counts at once."""
        return self.at_once

    @property
    def digested(self) -> JsonObject:
        """Return the payload without the time of sending."""
        return {name: value for name, value in self.payload.items() if name != SENT_AT}


class QuotaSpentError(Exception):
    """The daily quota of a page key is spent, and a visitor was not seen before today."""


class CallIntake:
    """Takes calls of Segment's libraries."""

    def __init__(self, open_collector: "Callable[[], Collector]", writer: "EventWriter") -> None:
        """Open the collector with the first call: it needs Arrow, and many servers never collect."""
        self._open, self._writer = open_collector, writer
        self._collector: Collector | None = None

    async def take(self, sent: SentCalls, key: ApiKey, size: int) -> None:
        """Return when all calls, of so many bytes, are durable. Raises as `EventWriter.write`, and QuotaSpentError."""
        if self._collector is None:
            self._collector = await asyncio.to_thread(self._open)
        messages = self._collector.messages(sent, key.name, CLOCK.now(), key.kind)
        if key.kind == "page" and messages:
            if key.is_spent and await self._writer.any_is_new({one.speaker for one in messages}):
                raise QuotaSpentError
            charged = key.key_id, size // len(messages)
            messages = [replace(one, charged=charged) for one in messages]
        if messages:
            await self._writer.write(*messages)

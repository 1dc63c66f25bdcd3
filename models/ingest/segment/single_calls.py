"""Read single calls as they arrive: who acts on which items, when, and the members that the lake needs.

`parse.parse_lines` has the last word when the calls move into the lake; it gives the same interaction for every call.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from models.ingest import placeholder_ids
from models.ingest.segment.event_types import ACTION_FIRST, Meaning, event_name
from models.ingest.segment.identities import allowed
from models.ingest.segment.json_lines import BLOCK, EVENT_MEMBERS, TYPES
from models.ingest.segment.page_rules import PageRule
from models.ingest.segment.segment_mapping import SegmentMapping
from models.ingest.traffic_filter import LONGEST_ID
from models.primitives.json_types import JsonObject
from models.primitives.time import read_moment

ALIAS: Final = "alias"
JOINING: Final = frozenset(("identify", ALIAS))
"""The types of calls that state whose a device is."""
FAULT, FOUND_MARKS = "fault", "marks"
"""Members of the payload in the inbox: of a call that cannot be read, and of one that no customer made."""
_PROPERTIES: Final = (*BLOCK, *EVENT_MEMBERS, "path")
_ENVELOPE: Final = ("event", "name", "timestamp")
_SHORT: Final = ("type", *_ENVELOPE)
_UNUSABLE: Final = "?"
"""Takes the place of a value of a wrong kind, so that the call has the same fault as in a file."""
_PLACEHOLDERS: Final = frozenset(placeholder_ids.ITEMS)


class Interaction(NamedTuple):
    """An act of a visitor, and its items."""

    event_type: str
    items: tuple[str, ...]


_NO_INTERACTION: Final = Interaction("", ())


class SingleCall(NamedTuple):
    """One call."""

    kind: str
    """`track`, `identify` and so on; empty if the call cannot be read."""
    message_id: str | None
    user_id: str | None
    device_id: str | None
    """The anonymous id, or the earlier id of an alias."""
    user_hash: str | None
    """The signature of the user's id by the shop's server."""
    consent: bool | None
    interaction: Interaction
    """Without an event type for a call that is no interaction."""
    user_agent: str | None
    address: str | None
    payload: JsonObject
    """The members that the lake needs, without ids, addresses and user agents."""


@dataclass(frozen=True)
class CallReader:
    """Reads calls by the mapping of their source."""

    meanings: Mapping[str, Meaning]
    page_rule: PageRule | None
    traits: Sequence[str]
    categories: Sequence[str]

    @classmethod
    def of(cls, mapping: SegmentMapping) -> "CallReader":
        """Return the reader of a mapping."""
        return cls(mapping.meanings(), mapping.page_rule(), allowed(mapping.traits), mapping.consent_categories)

    def read(self, call: JsonObject) -> SingleCall:
        """Return what a call states. Nothing in it raises an error."""
        kind = str(call.get("type") or "").lower()
        context = call.get("context")
        context = context if isinstance(context, dict) else {}
        properties = call.get("properties")
        answers = self._answers(context)
        payload: JsonObject = {name: value for name in _SHORT if (value := _plain(call.get(name))) is not None}
        if "timestamp" not in payload and (stated := _plain(call.get("originalTimestamp"))) is not None:
            payload["timestamp"] = stated  # RudderStack's name
        if properties is not None:
            payload["properties"] = _reduced(properties)
        if kind == "identify" and isinstance(call.get("traits"), dict):
            stated = {name: _trait(call["traits"].get(name)) for name in self.traits}
            payload["traits"] = {name: value for name, value in stated.items() if value is not None}
        session = word(context.get("sessionId")) or ""
        # A batch may state one context for thousands of calls.
        kept: JsonObject = {"sessionId": session} if 0 < len(session) <= LONGEST_ID else {}
        if answers:
            kept["consent"] = {"categoryPreferences": answers}
        if kept:
            payload["context"] = kept
        device = word(call.get("previousId")) if kind == ALIAS else None
        known = kind in TYPES
        return SingleCall(
            kind if known else "",
            word(call.get("messageId")),
            word(call.get("userId")),
            device or word(call.get("anonymousId")),
            word(context.get("userHash")),
            all(answers.values()) if answers else None,
            self._interaction(kind, payload) if known else _NO_INTERACTION,
            word(context.get("userAgent")),
            word(context.get("ip")),
            payload,
        )

    def _answers(self, context: JsonObject) -> dict[str, bool]:
        """Return the answers about the categories that count."""
        consent = context.get("consent")
        stated = consent.get("categoryPreferences") if isinstance(consent, dict) else None
        if not isinstance(stated, dict):
            return {}
        given = {name: value for name in self.categories if (value := _plain(stated.get(name))) is not None}
        return {name: value is True or value == "true" for name, value in given.items()}

    def _interaction(self, kind: str, payload: JsonObject) -> Interaction:
        properties = payload.get("properties") or {}
        if not isinstance(properties, dict):
            return _NO_INTERACTION
        if kind in ("page", "screen"):
            return self._visit(payload, properties)
        name = event_name(word(payload.get("event")) or "") if kind == "track" else ""
        meaning = self.meanings.get(name)
        if meaning is None or meaning.event_type is None:
            return _NO_INTERACTION
        products = properties.get("products")
        if products is not None and not isinstance(products, list):
            products = None
        own = _item_of(properties, id_first=name in ACTION_FIRST)
        names_product = any(word(properties.get(member)) for member in ("product_id", "sku", "id"))
        blocks = products if products and (meaning.many or not names_product) else None
        if blocks is None:
            return Interaction(meaning.event_type, (own,) if own else ())
        items = (_item_of(block or {}, id_first=name in ACTION_FIRST) for block in blocks)
        return Interaction(meaning.event_type, tuple(item for item in items if item))

    def _visit(self, payload: JsonObject, properties: JsonObject) -> Interaction:
        """Return the view of the item of a visited page."""
        if self.page_rule is None:
            return _NO_INTERACTION
        for place in (properties.get("path"), properties.get("url"), payload.get("name")):
            match = re.search(self.page_rule.pattern, place) if isinstance(place, str) else None
            if match and match["item_id"]:
                return Interaction(self.page_rule.event_type, (match["item_id"],))
        return _NO_INTERACTION


def word(value: Any) -> str | None:
    """Return an id or a name as text: None for blanks, lists and objects; NUL is replaced for PostgreSQL."""
    if isinstance(value, str):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if value.strip(" \t\n\r") else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else None


def _item_of(block: JsonObject, *, id_first: bool) -> str | None:
    """Return the usable id of a product."""
    members = ("product_id", "id", "sku") if id_first else ("product_id", "sku", "id")
    item = next((found for name in members if (found := word(block.get(name)))), None)
    return item if item and len(item) <= LONGEST_ID and item not in _PLACEHOLDERS else None


def _reduced(properties: Any) -> Any:
    if not isinstance(properties, dict):
        return _UNUSABLE
    kept = {name: value for name in _PROPERTIES if (value := _plain(properties.get(name))) is not None}
    products = properties.get("products")
    if products is not None:
        kept["products"] = [_block(one) for one in products] if isinstance(products, list) else _UNUSABLE
    return kept


def _block(product: Any) -> JsonObject | None:
    if not isinstance(product, dict):
        return None
    return {name: value for name in BLOCK if (value := _plain(product.get(name))) is not None}


def _plain(value: Any) -> Any:
    """Return a text, number or boolean; None for everything else."""
    return value if isinstance(value, str | int | float) else None


def _trait(value: Any) -> Any:
    """Return a plain value or a list of them; an object could hold an address."""
    if isinstance(value, list):
        return value if all(_plain(one) is not None for one in value) and "@" not in str(value) else None
    value = _plain(value)
    return None if isinstance(value, str) and "@" in value else value


SENT_AT: Final = "sentAt"
"""The member with the moment of sending, which differs when a library repeats a call."""

_ON_THE_WAY: Final = timedelta(seconds=5)
"""A smaller difference is the time on the way, so that a repeated call keeps its time."""
_QUARTER: Final = timedelta(minutes=15)
"""All time zones differ from UTC by multiples of it."""


def occurred_at(call: JsonObject, received_at: datetime) -> datetime | str:
    """Return the time of a call by the server's clock: `timestamp`, plus the error of the sender's clock.

    The error is the time of receipt minus `sentAt`, which the same clock states. If neither time names a zone, as in
    Segment's library for Flutter, the error contains the zone of the sender; if only one does, they are not of one
    clock. Without `sentAt` the clock counts as right, and a call without `timestamp` happened when it was received. A
    time of another form is returned as it is.
    """
    stated = call.get("timestamp")
    if stated is None or stated == "":
        return received_at
    moment, sent = read_moment(stated), read_moment(call.get(SENT_AT))
    if moment is None:
        return str(stated)
    is_local = _names_no_zone(stated)
    if sent is None or is_local != _names_no_zone(call[SENT_AT]):
        return moment
    error = received_at - sent
    zone = _QUARTER * round(error / _QUARTER) if is_local else timedelta()
    try:
        return moment + (zone if abs(error - zone) <= _ON_THE_WAY else error)
    except OverflowError:
        return moment


def _names_no_zone(stated: str) -> bool:
    return datetime.fromisoformat(stated).tzinfo is None

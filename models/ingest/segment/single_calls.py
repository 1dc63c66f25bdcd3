"""Read single calls as they arrive: who acts on which items, when, and the members that the lake needs.

`parse.parse_lines` has the last word when the calls move into the lake; it gives the same interaction for every call.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from models.ingest import placeholder_ids
from models.ingest.segment.event_types import ACTION_FIRST, SENT_AT, Meaning, event_name
from models.ingest.segment.fields import CONTEXT, IDS, PAGE_PLACES, STORED, TYPES, Shape, product_ids
from models.ingest.segment.interactions import allowed
from models.ingest.segment.parse import VISIT, PageRule
from models.ingest.segment.segment_mapping import SegmentMapping
from models.ingest.source_config import LONGEST_ID
from models.primitives.json_types import JsonObject
from models.primitives.time import read_moment

ALIAS: Final = "alias"
JOINING: Final = frozenset(("identify", ALIAS))
"""The types of calls that state whose a device is."""
FAULT, FOUND_MARKS = "fault", "marks"
"""Members of the payload in the inbox: of a call that cannot be read, and of one that no customer made."""
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
        ids = {name: word(call.get(member)) for name, member in IDS.items()}
        origin = {name: word(context.get(member)) for name, member in CONTEXT.items()}
        answers = self._answers(context)
        if _plain(call.get("timestamp")) is None:
            call = {**call, "timestamp": call.get("originalTimestamp")}  # RudderStack's name
        payload: JsonObject = _kept(call, STORED)
        if kind == "identify" and isinstance(call.get("traits"), dict):
            stated = {name: _trait(call["traits"].get(name)) for name in self.traits}
            payload["traits"] = {name: value for name, value in stated.items() if value is not None}
        # A batch may state one context for thousands of calls.
        session = origin["visit"] or ""
        kept: JsonObject = {CONTEXT["visit"]: session} if 0 < len(session) <= LONGEST_ID else {}
        if answers:
            kept["consent"] = {"categoryPreferences": answers}
        if kept:
            payload["context"] = kept
        known = kind in TYPES
        return SingleCall(
            kind=kind if known else "",
            message_id=ids["message_id"],
            user_id=ids["known_id"],
            device_id=(ids["previous_id"] if kind == ALIAS else None) or ids["anonymous_id"],
            user_hash=word(context.get("userHash")),
            consent=all(answers.values()) if answers else None,
            interaction=self._interaction(kind, payload) if known else _NO_INTERACTION,
            user_agent=origin["user_agent"],
            address=origin["ip"],
            payload=payload,
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
        members, products = product_ids(id_first=name in ACTION_FIRST), properties.get("products")
        blocks: list[JsonObject | None] = [properties]
        if isinstance(products, list) and products and (meaning.many or _word_of(properties, members) is None):
            blocks = products
        items = (_item_of(block or {}, members) for block in blocks)
        return Interaction(meaning.event_type, tuple(item for item in items if item))

    def _visit(self, payload: JsonObject, properties: JsonObject) -> Interaction:
        """Return the view of the item of a visited page."""
        if self.page_rule is None:
            return _NO_INTERACTION
        for place in (*map(properties.get, PAGE_PLACES), payload.get("name")):
            match = re.search(self.page_rule.pattern, place) if isinstance(place, str) else None
            if match and match["item_id"]:
                return Interaction(VISIT, (match["item_id"],))
        return _NO_INTERACTION


def word(value: Any) -> str | None:
    """Return an id or a name as text: None for blanks, lists and objects; NUL is replaced for PostgreSQL."""
    if isinstance(value, str):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if value.strip(" \t\n\r") else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else None


def _word_of(block: JsonObject, members: Sequence[str]) -> str | None:
    return next((found for name in members if (found := word(block.get(name)))), None)


def _item_of(block: JsonObject, members: Sequence[str]) -> str | None:
    """Return the usable id of a product."""
    item = _word_of(block, members)
    return item if item and len(item) <= LONGEST_ID and item not in _PLACEHOLDERS else None


def _kept(value: Any, shape: Shape | list[Shape] | str) -> Any:
    """Return the members of a value that the shape has; None without one."""
    if isinstance(shape, str) or value is None:
        return _plain(value)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return _UNUSABLE
        return [_kept(one, shape[0]) if isinstance(one, dict) else None for one in value]
    if not isinstance(value, dict):
        return _UNUSABLE
    return {name: kept for name in shape if name in value and (kept := _kept(value[name], shape[name])) is not None}


def _plain(value: Any) -> Any:
    """Return a text, number or boolean; None for everything else."""
    return value if isinstance(value, str | int | float) else None


def _trait(value: Any) -> Any:
    """Return a plain value or a list of them; an object could hold an address."""
    if isinstance(value, list):
        return value if all(_plain(one) is not None for one in value) and "@" not in str(value) else None
    value = _plain(value)
    return None if isinstance(value, str) and "@" in value else value


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

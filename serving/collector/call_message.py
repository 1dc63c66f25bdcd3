"""Defines the message of a call: what the inbox holds of it, and what counts at once."""

from dataclasses import dataclass, field

from models.ingest.segment.single_calls import SENT_AT
from models.primitives.json_types import JsonObject
from serving.events.message import Effects, Message


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

"""Defines the message of a call: what the inbox holds of it, and what counts at once."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import orjson

from models.primitives.json_types import JsonObject
from serving.events.message import Effects, Message

SENT_AT = "sentAt"
"""The member of the payload that differs when a library repeats a call."""


@dataclass(frozen=True)
class CallMessage(Message):
    """A call of Segment's libraries."""

    at_once: Effects = field(kw_only=True)

    @property
    def effects(self) -> Effects:
        """Return what counts at once."""
        return self.at_once

    @cached_property
    def digest(self) -> bytes:
        """Return the SHA-256 of the statements, without the times of receipt and of sending."""
        payload: JsonObject = {name: value for name, value in self.payload.items() if name != SENT_AT}
        stated = [self.kind, self.user_key, self.session_key, self.consent, payload]
        return hashlib.sha256(orjson.dumps(stated, option=orjson.OPT_SORT_KEYS)).digest()

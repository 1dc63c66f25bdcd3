"""Reads the rows that a batch has claimed, with the present pseudonyms."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import pyarrow as pa
from sqlalchemy import Connection, text

from infra.keys import key_chain
from infra.keys.identity import rekeyed
from models import columns
from models.primitives.json_types import JsonObject

ANSWERS: Final = "answers"
"""The kind of a row with many answers that were shown: its payload has a column of values for each field."""
_ROWS: Final = """
    SELECT source, message_id, kind, user_key, session_key, earlier_key, key_version, authority, consent, payload,
        received_at
    FROM event_inbox WHERE batch_id = :batch_id ORDER BY inbox_id"""


@dataclass(frozen=True)
class InboxRow:
    """A message of the inbox."""

    source: str
    message_id: str
    kind: str
    user_key: str | None
    session_key: str | None
    earlier_key: str | None
    """The key that the id of the session or device has as the id of a user."""
    key_version: int
    authority: str
    consent: bool | None
    payload: JsonObject
    received_at: datetime
    earlier_subject: str | None = None
    """The subject under the pseudonym key from before a rotation, which the sender still had."""

    @property
    def messages(self) -> int:
        """Return how many messages the row counts as: each answer that was shown is one."""
        return len(self.payload[columns.RECOMMENDATION_ID]) if self.kind == ANSWERS else 1

    @property
    def subject(self) -> str | None:
        """Return the key of the user, or of the device of an unknown user."""
        return self.user_key or self.session_key


def claimed_rows(connection: Connection, batch_id: str, key: bytes) -> list[InboxRow]:
    """Return the rows of a batch in order. Pseudonyms from before a rotation become the present ones."""
    rows = [InboxRow(**row) for row in connection.execute(text(_ROWS), {"batch_id": batch_id}).mappings()]
    chain = key_chain.keys(key.decode())
    return [row if row.key_version >= len(chain) else _rekeyed(row, chain[row.key_version :]) for row in rows]


def _rekeyed(row: InboxRow, added: Sequence[str]) -> InboxRow:
    if row.kind == ANSWERS:
        keys = {name: _rekeyed_all(row.payload[name], added) for name in (columns.USER_KEY, "session_key")}
        return replace(row, payload=row.payload | keys)
    user, session, earlier = _rekeyed_all([row.user_key, row.session_key, row.earlier_key], added)
    return replace(row, user_key=user, session_key=session, earlier_key=earlier, earlier_subject=row.subject)


def _rekeyed_all(keys: Sequence[str | None], added: Sequence[str]) -> list[str | None]:
    found: list[str | None] = rekeyed(pa.array(keys, pa.string()), added).to_pylist()
    return found

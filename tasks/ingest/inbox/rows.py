"""Reads the rows that a batch has claimed, with the present pseudonyms, under which their exclusions count, too."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import pyarrow as pa
from sqlalchemy import Connection, text

from infra.keys import credentials
from infra.keys.identity import rekeyed
from models import columns
from models.primitives.json_types import JsonObject
from tasks.ingest.validation import row_triage

ANSWERS: Final = "answers"
"""The kind of a row with many answers that were shown: its payload has a column of values for each field."""
_ROWS: Final = """
    SELECT source, message_id, kind, user_key, session_key, earlier_key, key_version, authority, consent, payload,
        received_at
    FROM event_inbox WHERE batch_id = :batch_id ORDER BY inbox_id"""
_GIVEN: Final = (
    "unnest(CAST(:earlier AS text[]), CAST(:present AS text[]), CAST(:kinds AS text[]), CAST(:values AS text[])) "
    "AS given (earlier, present, kind, value)"
)
_DELETE: Final = f"""
    DELETE FROM exclusions USING {_GIVEN}
    WHERE exclusions.user_key = given.earlier AND exclusions.kind = given.kind AND exclusions.value = given.value"""
_INSERT: Final = f"""
    INSERT INTO exclusions (user_key, kind, value) SELECT present, kind, value FROM {_GIVEN}
    WHERE NOT EXISTS (SELECT FROM suppressions WHERE suppressions.user_key = given.present)
    ON CONFLICT DO NOTHING"""


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
    chain = credentials.keys(key.decode())
    return [row if row.key_version >= len(chain) else _rekeyed(row, chain[row.key_version :]) for row in rows]


def unusable(rows: Sequence[InboxRow], faults: Mapping[int, str], numbers: Iterable[int]) -> pa.Table:
    """Return messages that cannot be used for quarantine: their ids, faults and numbers, without their values."""
    return pa.table(
        {
            "message": pa.array([rows[place].message_id for place in faults], pa.string()),
            row_triage.REASON: pa.array(faults.values(), pa.string()),
            columns.ROW: pa.array(numbers, pa.int64()),
            row_triage.RULES: pa.array([[row_triage.UNREADABLE]] * len(faults), pa.list_(pa.string())),
        }
    )


def _rekeyed(row: InboxRow, added: Sequence[str]) -> InboxRow:
    if row.kind == ANSWERS:
        keys = {name: _rekeyed_all(row.payload[name], added) for name in (columns.USER_KEY, "session_key")}
        return replace(row, payload=row.payload | keys)
    user, session, earlier = _rekeyed_all([row.user_key, row.session_key, row.earlier_key], added)
    return replace(row, user_key=user, session_key=session, earlier_key=earlier, earlier_subject=row.subject)


def _rekeyed_all(keys: Sequence[str | None], added: Sequence[str]) -> list[str | None]:
    found: list[str | None] = rekeyed(pa.array(keys, pa.string()), added).to_pylist()
    return found


def repeat_late_exclusions(connection: Connection, rows: Sequence[InboxRow]) -> None:
    """Move the exclusions of messages that came with an earlier pseudonym to the present one.

    A process that runs since before the rotation sends them, and so does a spool on disk.
    """
    given = [
        (row.earlier_subject, row.subject, entry["kind"], entry["value"])
        for row in rows
        if row.earlier_subject and row.subject and row.consent is not False
        for entry in row.payload.get("exclusions", ())
    ]
    if given:
        given_columns = dict(
            zip(("earlier", "present", "kinds", "values"), map(list, zip(*given, strict=True)), strict=True)
        )
        for statement in (_DELETE, _INSERT):
            connection.execute(text(statement), given_columns)

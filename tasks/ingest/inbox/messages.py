"""Claims messages of the inbox for a batch of the ledger, and reads them.

A batch has a fixed set of rows, chosen before anything is written. Pseudonyms from before a rotation of the key become
the present ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

import pyarrow as pa
from sqlalchemy import Connection, text

from expectations.batches import EVENT_RULES, QUARANTINED_SHARE
from infra.configuration.collect_mapping import collect_mapping
from infra.configuration.settings import Settings
from infra.keys import credentials
from infra.keys.identity import rekeyed
from models import columns
from models.ingest.batch_limits import Limits
from models.ingest.segment.segment_mapping import SegmentMapping
from models.ingest.source_config import SourceMapping
from models.primitives.json_types import JsonObject
from tasks.ingest.ledger import Batch
from tasks.ingest.validation import row_triage

LOCATION: Final = "event_inbox"
"""The location of batches from the inbox; the name of a batch's rows follows after a slash."""
CALLS: Final = f"{LOCATION}/calls"
"""The location of batches of the calls of Segment's libraries."""
# A batch mixes callers, so that the rows of one are no reason to refuse those of all others: rows are judged alone.
_LIMITS: Final = Limits(
    events=dict.fromkeys((QUARANTINED_SHARE, "id_conflict", *(rule.id for rule in EVENT_RULES)), (None, 1.0))
)
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
Dataset = Literal["events", "calls", "updates"]
KINDS: Final[dict[Dataset, tuple[str, ...]]] = {
    "events": ("event", "impressions", "answers"),
    "calls": ("call",),
    "updates": ("item", "user"),
}
"""The kinds of messages that a batch of each data set has. A batch of calls is a batch of events in the ledger."""
MOST: Final = 20_000
"""About the most messages of one batch."""
MOST_BYTES: Final = 32 * 1024**2
"""The most bytes of their payloads, which are in memory together: a call may have a thousand products."""
_DUE: Final = """
    SELECT source FROM event_inbox WHERE batch_id IS NULL AND kind = ANY(:kinds) GROUP BY source
    HAVING now() - min(received_at) >= make_interval(secs => :seconds) OR sum(messages) >= :messages ORDER BY source"""
_CLAIM: Final = text(Path(__file__).with_name("claim.sql").read_text())
_CLAIMED: Final = """
    SELECT DISTINCT batch_id, source FROM event_inbox WHERE batch_id IS NOT NULL AND moved_at IS NULL
        AND kind = ANY(:kinds) ORDER BY batch_id"""


def call_mapping(settings: Settings, source: str) -> SegmentMapping:
    """Return the mapping of the calls of a source. Raises MappingError for a file that cannot be used."""
    mapping = collect_mapping(settings, source)
    own = mapping.limits.model_copy(update={"events": {**_LIMITS.events, **mapping.limits.events}})
    return mapping.model_copy(update={"limits": own})


def mapping_of(settings: Settings, batch: Batch) -> SourceMapping | None:
    """Return the mapping of a batch of the inbox; None for a batch of a file."""
    if batch.location.startswith(f"{CALLS}/"):
        return call_mapping(settings, batch.source)
    return inbox_mapping(batch.source) if batch.location.startswith(f"{LOCATION}/") else None


def inbox_mapping(source: str) -> SourceMapping:
    """Return the mapping of a source: a user's events count if the user agreed, in the message or before."""
    return SourceMapping.model_validate({"name": source, "limits": _LIMITS})


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
        names = ("earlier", "present", "kinds", "values")
        given_columns = dict(zip(names, map(list, zip(*given, strict=True)), strict=True))
        for statement in (_DELETE, _INSERT):
            connection.execute(text(statement), given_columns)


@dataclass(frozen=True)
class Due:
    """When the waiting messages of a source become a batch."""

    seconds: float = 0.0
    """The age of the oldest one."""
    messages: int = MOST
    """Or their number."""


def claimed(connection: Connection, dataset: Dataset) -> list[Batch]:
    """Return the batches that have claimed rows and have not moved them."""
    rows = connection.execute(text(_CLAIMED), {"kinds": list(KINDS[dataset])})
    return [_batch(row.batch_id, row.source, dataset) for row in rows]


def claim(
    connection: Connection, dataset: Dataset, due: Due, most: int = MOST, most_bytes: int = MOST_BYTES
) -> list[Batch]:
    """Claim the rows that are due, at most one batch per source; returns the batches."""
    values = {"kinds": list(KINDS[dataset]), "most": most, "most_bytes": most_bytes}
    batches = []
    for source in connection.execute(text(_DUE), values | vars(due)).scalars().all():
        own = {"source": source, "prefix": f"{source}-{dataset}-"}
        if name := connection.execute(_CLAIM, values | own).scalar():
            batches.append(_batch(name, source, dataset))
    return batches


def _batch(batch_id: str, source: str, dataset: Dataset) -> Batch:
    name = batch_id.removeprefix(f"{source}-{dataset}-").removesuffix("-inbox")
    if dataset == "calls":
        return Batch(batch_id, "events", source, f"{CALLS}/{name}", "")  # the mapping of calls states the consent
    return Batch(batch_id, dataset, source, f"{LOCATION}/{name}", inbox_mapping(source).consent_note)

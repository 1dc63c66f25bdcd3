"""Claims rows of the inbox for a batch of the ledger: a fixed set, chosen before anything is written."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from sqlalchemy import Connection, text

from tasks.ingest.inbox.inbox_mapping import CALLS, LOCATION, inbox_mapping
from tasks.ingest.ledger_records import Batch

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
_WAITING: Final = """
    SELECT source, sum(messages) AS messages, extract(epoch FROM now() - min(received_at))::float AS age
    FROM event_inbox WHERE batch_id IS NULL AND kind = ANY(:kinds) GROUP BY source ORDER BY source"""
# Rows that another process claims now are skipped, and the rows behind them are claimed in their place. The order of
# batches needs not be that of rows: what messages state counts by its time, in whichever batch it is.
_CLAIM: Final = """
    WITH numbered AS (
        SELECT sum(messages) OVER (ORDER BY inbox_id) - messages AS messages_before FROM event_inbox
        WHERE batch_id IS NULL AND source = :source AND kind = ANY(:kinds) ORDER BY inbox_id LIMIT :most
    ), free AS MATERIALIZED (
        SELECT inbox_id, messages, octet_length(payload::text) AS bytes FROM event_inbox
        WHERE batch_id IS NULL AND source = :source AND kind = ANY(:kinds) ORDER BY inbox_id
        LIMIT (SELECT count(*) FROM numbered WHERE messages_before < :most) FOR UPDATE SKIP LOCKED
    ), fitting AS (
        SELECT inbox_id FROM (
            SELECT inbox_id, sum(bytes) OVER before AS bytes_before, sum(messages) OVER before AS messages_before
            FROM free WINDOW before AS (ORDER BY inbox_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) AS summed
        WHERE coalesce(bytes_before, 0) < :most_bytes AND coalesce(messages_before, 0) < :most
    ), chosen AS (SELECT min(inbox_id) || '_' || max(inbox_id) AS name FROM fitting)
    UPDATE event_inbox SET batch_id = :prefix || chosen.name || '-inbox' FROM fitting, chosen
    WHERE event_inbox.inbox_id = fitting.inbox_id
    RETURNING event_inbox.batch_id"""
_CLAIMED: Final = """
    SELECT DISTINCT batch_id, source FROM event_inbox WHERE batch_id IS NOT NULL AND moved_at IS NULL
        AND kind = ANY(:kinds) ORDER BY batch_id"""


class Waiting(NamedTuple):
    """The messages of a source that no batch has claimed, and the age of the oldest in seconds."""

    source: str
    messages: int
    age: float


@dataclass(frozen=True)
class Due:
    """When the waiting messages of a source become a batch."""

    seconds: float = 0.0
    """The age of the oldest one."""
    messages: int = MOST
    """Or their number."""

    def __call__(self, waiting: Waiting) -> bool:
        """Return whether they are to be moved now."""
        return waiting.age >= self.seconds or waiting.messages >= self.messages


def claimed(connection: Connection, dataset: Dataset) -> list[Batch]:
    """Return the batches that have claimed rows and have not moved them."""
    rows = connection.execute(text(_CLAIMED), {"kinds": list(KINDS[dataset])})
    return [_batch(row.batch_id, row.source, dataset) for row in rows]


def claim(
    connection: Connection, dataset: Dataset, due: Due, most: int = MOST, most_bytes: int = MOST_BYTES
) -> list[Batch]:
    """Claim the rows that are due, at most one batch per source; returns the batches."""
    kinds: Sequence[str] = list(KINDS[dataset])
    batches = []
    for waiting in (Waiting(*row) for row in connection.execute(text(_WAITING), {"kinds": kinds})):
        if due(waiting):
            bounds = {"most": most, "most_bytes": most_bytes}
            values = {"source": waiting.source, "kinds": kinds, "prefix": f"{waiting.source}-{dataset}-", **bounds}
            if name := connection.execute(text(_CLAIM), values).scalar():
                batches.append(_batch(name, waiting.source, dataset))
    return batches


def _batch(batch_id: str, source: str, dataset: Dataset) -> Batch:
    name = batch_id.removeprefix(f"{source}-{dataset}-").removesuffix("-inbox")
    if dataset == "calls":
        return Batch(batch_id, "events", source, f"{CALLS}/{name}", "")  # the mapping of calls states the consent
    return Batch(batch_id, dataset, source, f"{LOCATION}/{name}", inbox_mapping(source).consent_note)

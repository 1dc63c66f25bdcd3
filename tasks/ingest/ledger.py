"""Reads and writes the ledger: the counts of each batch. `read` is always the sum of the other counts."""

import hashlib
import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypedDict

from sqlalchemy import Connection, DateTime, cast, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from infra.database.schema.ledger_schema import COMMITTED as COMMITTED
from infra.database.schema.ledger_schema import PENDING as PENDING
from infra.database.schema.ledger_schema import REFUSED as REFUSED
from infra.database.schema.ledger_schema import UNDOING as UNDOING
from infra.database.schema.ledger_schema import UNDONE as UNDONE
from infra.database.schema.ledger_schema import ingest_repeats, quarantine_repeats
from infra.database.schema.schema import LEDGER, ingest_batches, ingest_chunks, ingest_updates, quarantine
from infra.locks import lock_until_commit
from infra.private_files.folders import sha256
from models.errors import LedgerError
from models.ingest.check.non_goods import Suspect
from models.ingest.source_config import SourceMapping
from models.ingest.tabular import table_mapping as tables
from models.primitives.json_types import JsonObject
from tasks.quality.chunk_profile import ChunkProfile
from tasks.quality.chunk_profile import Counts as Counts
from tasks.quality.findings import Findings

UNCHANGED: Final = "unchanged"
"""The status that an ingest reports for a batch that was committed before; the ledger keeps `committed`."""
Verdict = tuple[Findings | None, str | None]
"""The findings on a batch, and the remarks that the ledger shows."""
NEVER: Final = datetime.min.replace(tzinfo=UTC)
LATE: Final = timedelta(days=1)
"""Events are late if they are so much older than the source's newest: a daily export has some of the evening before."""
_SET_LATE_BEFORE: Final = """
    UPDATE ingest_batches SET late_before = moment
    FROM unnest(CAST(:names AS text[]), CAST(:moments AS timestamptz[])) AS entry (name, moment)
    WHERE batch_id = name"""
_DELETED: Final = """
    UPDATE ingest_batches SET deleted = deleted + number
    FROM unnest(CAST(:names AS text[]), CAST(:numbers AS bigint[])) AS entry (name, number) WHERE batch_id = name"""
_SUMS: Final = {name: f"sum({name})" for name in LEDGER} | {"late": "sum((profile ->> 'late')::bigint)"}
_CLOSE: Final = f"""
    UPDATE ingest_batches SET {", ".join(f"{name} = coalesce(sums.{name}, 0)" for name in _SUMS)},
        status = '{COMMITTED}',
        finished_at = CASE WHEN :new THEN now() ELSE finished_at END,
        quality = coalesce(verdicts.quality::jsonb, ingest_batches.quality),
        detail = CASE WHEN verdicts.quality IS NULL THEN ingest_batches.detail ELSE verdicts.detail END
    FROM unnest(CAST(:batch_ids AS text[]), CAST(:qualities AS text[]), CAST(:details AS text[]))
        AS verdicts (batch_id, quality, detail)
    LEFT JOIN (
        SELECT batch_id, {", ".join(f"{total} AS {name}" for name, total in _SUMS.items())}
        FROM ingest_chunks WHERE batch_id = ANY(:batch_ids) GROUP BY batch_id
    ) AS sums USING (batch_id)
    WHERE ingest_batches.batch_id = verdicts.batch_id
    RETURNING {", ".join(f"ingest_batches.{name}" for name in ("batch_id", *LEDGER))}"""
_IGNORED: Final[typing.Any] = {"location": True, "limits": True} | {
    part: {"sql"} for part in ("events", "items", "users")
}
"""Keys of a mapping that do not change the meaning of its rows."""


class SqlRequest(TypedDict):
    """Where the rows of a batch come from in a database, and how far it reaches. It counts once the batch does."""

    stream: str
    """The table or query, by the database and the cursor column."""
    url: str
    """The address without its login, or the variable that holds it."""
    options: dict[str, str]
    """The options of the command."""
    kind: str | None
    """The kind of the cursor; None before the first position."""
    position: str | None
    """The value of the cursor from which the next run continues."""
    columns: dict[str, str]
    """All columns of the table, with the kinds of those that were read."""


class IngestRequest(TypedDict, total=False):
    """How a batch was requested, so that its rows can be read again in the same way."""

    mapping: str
    overrides: dict[str, str]
    """Keys of the mapping that the request replaces."""
    sql: SqlRequest
    """For rows of a database."""
    read_at: str
    """When an API delivered the content, most recently."""


class LedgerEntry(TypedDict, total=False):
    """A batch's line in the ledger, as an ingest returns it."""

    batch_id: str
    dataset: str
    source: str
    status: str
    consent: str
    read: int
    accepted: int
    quarantined: int
    duplicate: int
    suppressed: int
    routed: int
    late: int
    detail: str | None
    data_docs: str | None
    """The address of the batch's Data Docs."""
    file: str
    correction: JsonObject
    """Rows that were left out because accepted rows have their ids and other values."""
    currencies: "CurrencyAdvice"
    suspects: list[Suspect]
    """Items that look like no goods."""
    suspects_found: int
    suspects_mark: str | None
    odd_prices: "OddPrices"


class CurrencyAdvice(TypedDict):
    """A source has amounts in several currencies."""

    says: str
    advice: str
    write: str


class OddPrices(TypedDict):
    """Items whose prices are more likely wrong than that they are no goods."""

    items: int
    example: Suspect
    batch: JsonObject | None
    check: str


@dataclass(frozen=True)
class Batch:
    """One file of one source. Its id is made of its content, so that the same content is the same batch."""

    batch_id: str
    dataset: str
    source: str
    location: str
    consent: str
    request: IngestRequest = field(default_factory=IngestRequest)
    refund_order: bool = False
    """Whether its refunds take back only purchases of the order that they name."""


@dataclass(frozen=True)
class ChunkEntry:
    """The counts and the profile of one chunk."""

    batch_id: str
    chunk: int
    counts: Counts
    profile: ChunkProfile

    @property
    def row(self) -> dict[str, object]:
        """The row of `ingest_chunks`."""
        return {"batch_id": self.batch_id, "chunk": self.chunk, "profile": self.profile, **self.counts}


def open_batch(connection: Connection, batch: Batch) -> str:
    """Enter a batch as pending if it is new, refused or undone; returns its status."""
    return open_batches(connection, [batch])[0]


def open_batches(connection: Connection, batches: Sequence[Batch]) -> list[str]:
    """Enter new, refused or undone batches as pending; returns the status of each batch."""
    entered = insert(ingest_batches).values([{"status": PENDING, **vars(batch)} for batch in batches])
    closed = ingest_batches.c.status.in_((REFUSED, UNDONE))
    reopened: dict[str, object] = {
        "status": PENDING,
        **dict.fromkeys((*LEDGER, "late"), 0),
        **dict.fromkeys(("detail", "late_before", "quality", "finished_at")),
        **{name: entered.excluded[name] for name in ("location", "request")},
        "started_at": func.now(),
    }
    connection.execute(entered.on_conflict_do_update(index_elements=["batch_id"], set_=reopened, where=closed))
    names = [batch.batch_id for batch in batches]
    resumed = (ingest_batches.c.batch_id.in_(names), ingest_batches.c.status == PENDING)
    connection.execute(update(ingest_batches).where(*resumed).values(detail=None))
    status_of = statuses(connection, names)
    return [status_of[name] for name in names]


def statuses(connection: Connection, batch_ids: Sequence[str]) -> dict[str, str]:
    """Return the status of each of these batches that the ledger has."""
    known = select(ingest_batches.c.batch_id, ingest_batches.c.status).where(ingest_batches.c.batch_id.in_(batch_ids))
    return {row.batch_id: row.status for row in connection.execute(known)}


def latest_and_next(connection: Connection, batch: Batch) -> tuple[Batch | None, Batch]:
    """Return the latest committed batch of this content, and the batch that ingests the content again."""
    entry = ingest_batches.c
    same = (entry.batch_id == batch.batch_id) | entry.batch_id.startswith(f"{batch.batch_id}-", autoescape=True)
    done = select(entry.batch_id).where(entry.status == COMMITTED, entry.dataset == batch.dataset, same)
    committed = connection.execute(done.order_by(entry.finished_at.desc())).scalars().all()
    if not committed:
        return None, batch
    # An undone batch may be ingested again under the name that it had.
    names = (batch.batch_id, *(f"{batch.batch_id}-{number}" for number in range(2, len(committed) + 2)))
    free = next(name for name in names if name not in committed)
    return replace(batch, batch_id=committed[0]), replace(batch, batch_id=free)


def late_before(connection: Connection, batch: Batch) -> datetime:
    """Return the moment before which events of the batch are late, because their source delivered newer ones before.

    It is set once, so that an interrupted batch continues with the same moment.
    """
    this_batch, entry = ingest_batches.c.batch_id == batch.batch_id, ingest_batches.c
    last = cast(ingest_chunks.c.profile["max"].astext, DateTime(timezone=True))
    before = (entry.source == batch.source, entry.dataset == batch.dataset, entry.status == COMMITTED)
    newest = select(func.max(last)).join_from(ingest_chunks, ingest_batches).where(*before).scalar_subquery()
    moment = func.coalesce(newest - LATE, cast("-infinity", DateTime(timezone=True)))
    connection.execute(update(ingest_batches).where(this_batch, entry.late_before.is_(None)).values(late_before=moment))
    decided = func.nullif(entry.late_before, cast("-infinity", DateTime(timezone=True)))
    stored: datetime | None = connection.execute(select(decided).where(this_batch)).scalar_one()
    return stored or NEVER


def set_late_before(connection: Connection, moments: Mapping[str, datetime]) -> None:
    """Set the moments of `late_before` for batches whose predecessors are not committed yet."""
    written = ["-infinity" if moment == NEVER else moment.isoformat() for moment in moments.values()]
    connection.execute(text(_SET_LATE_BEFORE), {"names": list(moments), "moments": written})


def unfinished(connection: Connection, batch_id: str) -> list[str]:
    """Return other pending batches with recorded chunks."""
    others = (ingest_batches.c.status == PENDING, ingest_batches.c.batch_id != batch_id)
    begun = select(ingest_batches.c.batch_id).join(ingest_chunks).where(*others).distinct()
    return list(connection.execute(begun).scalars())


def interrupted(connection: Connection, batch_id: str) -> list[str]:
    """Return other pending batches that no run holds, and lock them until this transaction ends."""
    others = (ingest_batches.c.status == PENDING, ingest_batches.c.batch_id != batch_id)
    names = list(connection.execute(select(ingest_batches.c.batch_id).where(*others)).scalars())
    return lock_until_commit(connection, names)


def undoing(connection: Connection) -> list[str]:
    """Return the batches whose undo was interrupted, in the order in which they started."""
    rows = select(ingest_batches.c.batch_id).where(ingest_batches.c.status == UNDOING)
    return list(connection.execute(rows.order_by(ingest_batches.c.started_at)).scalars())


def set_status(connection: Connection, batch_id: str, status: str, detail: str) -> None:
    """Set the status of a batch, and the remark that the ledger shows."""
    changed = {"status": status, "detail": detail, "finished_at": func.now()}
    connection.execute(update(ingest_batches).where(ingest_batches.c.batch_id == batch_id).values(changed))


def last_recorded_chunk(connection: Connection, batch_id: str) -> int:
    """Return the number of the batch's last recorded chunk, or -1."""
    last = select(func.coalesce(func.max(ingest_chunks.c.chunk), -1)).where(ingest_chunks.c.batch_id == batch_id)
    return int(connection.execute(last).scalar_one())


def delete_chunks(connection: Connection, *batch_ids: str) -> None:
    """Delete the records of batches' chunks, so that they start from the beginning when they are ingested again."""
    for table in (ingest_chunks, quarantine, ingest_updates, ingest_repeats, quarantine_repeats):
        connection.execute(delete(table).where(table.c.batch_id.in_(batch_ids)))
    started = {"late_before": None, "deleted": 0}
    connection.execute(update(ingest_batches).where(ingest_batches.c.batch_id.in_(batch_ids)).values(started))


def record_deleted(connection: Connection, events: Mapping[str, int]) -> None:
    """Record how many events of each batch were deleted from the lake, in addition to earlier ones."""
    connection.execute(text(_DELETED), {"names": list(events), "numbers": list(events.values())})


def record_chunks(connection: Connection, *chunks: ChunkEntry) -> None:
    """Record chunks, or replace their records. Raises LedgerError if the counts of one do not add up."""
    for chunk in chunks:
        if chunk.counts["read"] != sum(chunk.counts[name] for name in LEDGER if name != "read"):
            raise LedgerError(f"chunk {chunk.chunk} of {chunk.batch_id} does not add up: {chunk.counts}")
    entry = insert(ingest_chunks).values([chunk.row for chunk in chunks])
    replaced = {name: entry.excluded[name] for name in ("profile", *LEDGER)}
    connection.execute(entry.on_conflict_do_update(index_elements=["batch_id", "chunk"], set_=replaced))


def chunk_profiles(connection: Connection, batch_id: str) -> list[ChunkProfile]:
    """Return the profiles of a batch's chunks, in order."""
    rows = select(ingest_chunks.c.profile).where(ingest_chunks.c.batch_id == batch_id).order_by(ingest_chunks.c.chunk)
    return list(connection.execute(rows).scalars())


def close_batch(connection: Connection, batch_id: str, quality: Findings | None, *, new: bool = True) -> Counts:
    """Mark a batch as committed, as `close_batches` does; returns its counts.

    Without `quality` it keeps its findings and remarks. If it gets no `new` rows it keeps the time of its commit.
    """
    return close_batches(connection, {batch_id: (quality, None)}, new=new)[batch_id]


def close_batches(connection: Connection, verdicts: Mapping[str, Verdict], *, new: bool = True) -> dict[str, Counts]:
    """Mark batches as committed, with the sums of their chunks; data sets contain their events from now on."""
    qualities, details = zip(*verdicts.values(), strict=True)
    documents = [None if quality is None else json.dumps(quality) for quality in qualities]
    values = {"batch_ids": list(verdicts), "qualities": documents, "details": list(details), "new": new}
    closed = connection.execute(text(_CLOSE), values)
    return {row["batch_id"]: {name: row[name] for name in LEDGER} for row in closed.mappings()}


def refuse_batch(connection: Connection, batch_id: str, quality: Findings, detail: str) -> None:
    """Mark a batch as refused and delete its chunks, because none of its rows is kept."""
    delete_chunks(connection, batch_id)
    refused = {"status": REFUSED, "quality": quality, "detail": detail, "finished_at": func.now()}
    connection.execute(update(ingest_batches).where(ingest_batches.c.batch_id == batch_id).values(refused))


def entries(connection: Connection, batch_ids: Sequence[str]) -> dict[str, LedgerEntry]:
    """Return lines of the ledger by batch."""
    shown = ("batch_id", "dataset", "source", "status", "consent", *LEDGER, "late", "detail")
    chosen = select(*(ingest_batches.c[name] for name in shown)).where(ingest_batches.c.batch_id.in_(batch_ids))
    return {row["batch_id"]: typing.cast(LedgerEntry, dict(row)) for row in connection.execute(chosen).mappings()}


def batch_of(
    mapping: SourceMapping, dataset: str, path: Path, address: str, request: IngestRequest | None = None
) -> Batch:
    """Return the batch of a file, which comes from `address`: the same content and mapping are the same batch."""
    part = mapping.events if isinstance(mapping, tables.Mapping) else None
    known = bool(part and part.refund_order)
    batch_id = batch_id_of(mapping, dataset, sha256(path))
    return Batch(batch_id, dataset, mapping.name, address, mapping.consent_note, request or IngestRequest(), known)


def batch_id_of(mapping: SourceMapping, dataset: str, content: str) -> str:
    """Return the id of the batch whose `content` has that digest."""
    meaning = hashlib.sha256(mapping.model_dump_json(exclude=_IGNORED, exclude_defaults=True).encode()).hexdigest()
    return f"{mapping.name}-{dataset}-{content[:12]}-{meaning[:8]}"


def request_of(mapping: str, overrides: dict[str, str] | None) -> IngestRequest:
    """Return the request of an ingest as the ledger stores it."""
    path = Path(mapping)
    return {"mapping": str(path.absolute()) if path.suffix == ".toml" else mapping, "overrides": overrides or {}}

"""The ledger: what became of every row of every batch. `read` is always the sum of the other counts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, DateTime, cast, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from infra.database.schema.ledger_schema import COMMITTED as COMMITTED
from infra.database.schema.ledger_schema import PENDING as PENDING
from infra.database.schema.ledger_schema import REFUSED as REFUSED
from infra.database.schema.ledger_schema import UNDOING as UNDOING
from infra.database.schema.ledger_schema import UNDONE as UNDONE
from infra.database.schema.ledger_schema import ingest_repeats, quarantine_repeats
from infra.database.schema.schema import LEDGER, ingest_batches, ingest_chunks, ingest_updates, quarantine
from infra.locks.advisory_locks import lock_until_commit
from models.errors import LedgerError

UNCHANGED: Final = "unchanged"
"""What an ingest reports in place of the status of a batch that was committed before. The ledger keeps the status."""
Counts = dict[str, int]
Verdict = tuple[list[dict[str, Any]] | None, str | None]
"""What the suites found in a batch, and remarks that the ledger shows."""
NEVER: Final = datetime.min.replace(tzinfo=UTC)
LATE: Final = timedelta(days=1)
"""How far events may lie behind what their source has brought before: a daily export has some of the evening before."""
_DECIDED: Final = """
    UPDATE ingest_batches SET late_before = moment
    FROM unnest(CAST(:names AS text[]), CAST(:moments AS timestamptz[])) AS decided (name, moment)
    WHERE batch_id = name"""
_SUMS: Final = {name: f"sum({name})" for name in LEDGER} | {"late": "sum((profile ->> 'late')::bigint)"}
_CLOSED: Final = f"""
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
_NO_COUNTS: Final[dict[str, Any]] = dict.fromkeys((*LEDGER, "late"), 0) | {"quality": None}


@dataclass(frozen=True)
class Batch:
    """One file of one source: named by its content, so that the same content is the same batch."""

    batch_id: str
    dataset: str
    source: str
    location: str
    consent: str
    request: dict[str, Any] = field(default_factory=dict)
    """The mapping, and what was chosen otherwise: with it the same rows can be looked at again."""


def open_batch(connection: Connection, batch: Batch) -> str:
    """Enter a batch as pending if it is new, was refused or undone; returns its status."""
    return open_batches(connection, [batch])[0]


def open_batches(connection: Connection, batches: Sequence[Batch]) -> list[str]:
    """Enter batches as pending that are new, were refused or undone; returns the status of each."""
    entered = insert(ingest_batches).values([{"status": PENDING, **vars(batch)} for batch in batches])
    again = ingest_batches.c.status.in_((REFUSED, UNDONE))
    reopened: dict[str, Any] = {"status": PENDING, "detail": None, "late_before": None} | _NO_COUNTS
    reopened |= {"location": entered.excluded.location, "request": entered.excluded.request}
    reopened |= {"started_at": func.now(), "finished_at": None}
    connection.execute(entered.on_conflict_do_update(index_elements=["batch_id"], set_=reopened, where=again))
    names = [batch.batch_id for batch in batches]
    resumed = (ingest_batches.c.batch_id.in_(names), ingest_batches.c.status == PENDING)
    connection.execute(update(ingest_batches).where(*resumed).values(detail=None))
    found = statuses(connection, names)
    return [found[name] for name in names]


def statuses(connection: Connection, batch_ids: Sequence[str]) -> dict[str, str]:
    """Return the status of each batch that ever came."""
    known = select(ingest_batches.c.batch_id, ingest_batches.c.status).where(ingest_batches.c.batch_id.in_(batch_ids))
    return {row.batch_id: row.status for row in connection.execute(known)}


def turns(connection: Connection, batch: Batch) -> tuple[Batch | None, Batch]:
    """Return the batch of this content that was committed last, and the one that takes the same content once more."""
    entry = ingest_batches.c
    same = (entry.batch_id == batch.batch_id) | entry.batch_id.startswith(f"{batch.batch_id}-", autoescape=True)
    done = select(entry.batch_id).where(entry.status == COMMITTED, entry.dataset == batch.dataset, same)
    found = connection.execute(done.order_by(entry.finished_at.desc())).scalars().all()
    if not found:
        return None, batch
    # One that was undone may come in again, under the name that it had.
    names = (batch.batch_id, *(f"{batch.batch_id}-{number}" for number in range(2, len(found) + 2)))
    free = next(name for name in names if name not in found)
    return replace(batch, batch_id=found[0]), replace(batch, batch_id=free)


def late_before(connection: Connection, batch: Batch) -> datetime:
    """Events of the batch that occurred before this moment come late: what their source brought before is newer.

    It is decided once, so that a batch that is cut short goes on with the same moment.
    """
    mine, entry = ingest_batches.c.batch_id == batch.batch_id, ingest_batches.c
    last = cast(ingest_chunks.c.profile["max"].astext, DateTime(timezone=True))
    before = (entry.source == batch.source, entry.dataset == batch.dataset, entry.status == COMMITTED)
    newest = select(func.max(last)).join_from(ingest_chunks, ingest_batches).where(*before).scalar_subquery()
    moment = func.coalesce(newest - LATE, cast("-infinity", DateTime(timezone=True)))
    connection.execute(update(ingest_batches).where(mine, entry.late_before.is_(None)).values(late_before=moment))
    decided = func.nullif(entry.late_before, cast("-infinity", DateTime(timezone=True)))
    found: datetime | None = connection.execute(select(decided).where(mine)).scalar_one()
    return found or NEVER


def set_late_before(connection: Connection, moments: Mapping[str, datetime]) -> None:
    """Decide when events of batches come late, where the batches before them are not committed yet."""
    written = ["-infinity" if moment == NEVER else moment.isoformat() for moment in moments.values()]
    connection.execute(text(_DECIDED), {"names": list(moments), "moments": written})


def unfinished(connection: Connection, batch_id: str) -> list[str]:
    """Other batches of which chunks were taken, and that are neither committed nor refused."""
    others = (ingest_batches.c.status == PENDING, ingest_batches.c.batch_id != batch_id)
    begun = select(ingest_batches.c.batch_id).join(ingest_chunks).where(*others).distinct()
    return list(connection.execute(begun).scalars())


def interrupted(connection: Connection, batch_id: str) -> list[str]:
    """Return other pending batches that no run works on; none begins one of them before this transaction ends."""
    others = (ingest_batches.c.status == PENDING, ingest_batches.c.batch_id != batch_id)
    names = list(connection.execute(select(ingest_batches.c.batch_id).where(*others)).scalars())
    return lock_until_commit(connection, names)


def undoing(connection: Connection) -> list[str]:
    """Return the batches whose undo was cut short, in the order in which they began."""
    mine = select(ingest_batches.c.batch_id).where(ingest_batches.c.status == UNDOING)
    return list(connection.execute(mine.order_by(ingest_batches.c.started_at)).scalars())


def set_status(connection: Connection, batch_id: str, status: str, detail: str) -> None:
    """Let a batch have another status, and a remark that the ledger shows."""
    changed = {"status": status, "detail": detail, "finished_at": func.now()}
    connection.execute(update(ingest_batches).where(ingest_batches.c.batch_id == batch_id).values(changed))


def recorded(connection: Connection, batch_id: str) -> int:
    """The last chunk of the batch that was written down; -1 when none was."""
    last = select(func.coalesce(func.max(ingest_chunks.c.chunk), -1)).where(ingest_chunks.c.batch_id == batch_id)
    return int(connection.execute(last).scalar_one())


def forget_chunks(connection: Connection, batch_id: str) -> None:
    """Nothing of the batch was taken: it begins anew when it comes again."""
    for table in (ingest_chunks, quarantine, ingest_updates, ingest_repeats, quarantine_repeats):
        connection.execute(delete(table).where(table.c.batch_id == batch_id))
    connection.execute(update(ingest_batches).where(ingest_batches.c.batch_id == batch_id).values(late_before=None))


@dataclass(frozen=True)
class ChunkEntry:
    """What became of the rows of one chunk."""

    batch_id: str
    chunk: int
    counts: Counts
    profile: dict[str, Any]

    @property
    def row(self) -> dict[str, Any]:
        """The row of `ingest_chunks`."""
        return {"batch_id": self.batch_id, "chunk": self.chunk, "profile": self.profile, **self.counts}


def record_chunk(connection: Connection, batch_id: str, chunk: int, counts: Counts, profile: dict[str, Any]) -> None:
    """Write down what became of one chunk; a repeat replaces it. Raises LedgerError when rows are missing."""
    record_chunks(connection, [ChunkEntry(batch_id, chunk, counts, profile)])


def record_chunks(connection: Connection, chunks: Sequence[ChunkEntry]) -> None:
    """Write down what became of chunks; a repeat replaces one. Raises LedgerError when rows of one are missing."""
    for chunk in chunks:
        if chunk.counts["read"] != sum(chunk.counts[name] for name in LEDGER if name != "read"):
            raise LedgerError(f"chunk {chunk.chunk} of {chunk.batch_id} does not add up: {chunk.counts}")
    entry = insert(ingest_chunks).values([chunk.row for chunk in chunks])
    replaced = {name: entry.excluded[name] for name in ("profile", *LEDGER)}
    connection.execute(entry.on_conflict_do_update(index_elements=["batch_id", "chunk"], set_=replaced))


def chunk_profiles(connection: Connection, batch_id: str) -> list[dict[str, Any]]:
    """The profiles of a batch's chunks, in order."""
    rows = select(ingest_chunks.c.profile).where(ingest_chunks.c.batch_id == batch_id).order_by(ingest_chunks.c.chunk)
    return list(connection.execute(rows).scalars())


def close_batch(
    connection: Connection,
    batch_id: str,
    quality: list[dict[str, Any]] | None,
    detail: str | None = None,
    *,
    new: bool = True,
) -> Counts:
    """Mark a batch as committed, as `close_batches` does; returns its counts.

    Without a `quality` it keeps what was found before, and the remarks. Without anything `new` in it, it keeps the time
    since when it counts.
    """
    return close_batches(connection, {batch_id: (quality, detail)}, new=new)[batch_id]


def close_batches(connection: Connection, verdicts: Mapping[str, Verdict], *, new: bool = True) -> dict[str, Counts]:
    """Mark batches as committed, with the sums of their chunks; from now on data sets see their events."""
    qualities, details = zip(*verdicts.values(), strict=True)
    found = connection.execute(
        text(_CLOSED),
        {
            "batch_ids": list(verdicts),
            "qualities": [None if quality is None else json.dumps(quality) for quality in qualities],
            "details": list(details),
            "new": new,
        },
    )
    return {row["batch_id"]: {name: row[name] for name in LEDGER} for row in found.mappings()}


def refuse_batch(connection: Connection, batch_id: str, quality: list[dict[str, Any]], detail: str) -> None:
    """Mark a batch as refused and forget its chunks: nothing of it was taken."""
    forget_chunks(connection, batch_id)
    refused = {"status": REFUSED, "quality": quality, "detail": detail, "finished_at": func.now()}
    connection.execute(update(ingest_batches).where(ingest_batches.c.batch_id == batch_id).values(refused))


def entry(connection: Connection, batch_id: str) -> dict[str, Any]:
    """A batch's line in the ledger."""
    return entries(connection, [batch_id])[batch_id]


def entries(connection: Connection, batch_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return lines of the ledger by batch."""
    shown = ("batch_id", "dataset", "source", "status", "consent", *LEDGER, "late", "detail")
    chosen = select(*(ingest_batches.c[name] for name in shown)).where(ingest_batches.c.batch_id.in_(batch_ids))
    return {row["batch_id"]: dict(row) for row in connection.execute(chosen).mappings()}

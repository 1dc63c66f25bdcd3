"""Undoes batches: removes exactly what each brought, and keeps what other batches brought."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

from prefect import task
from sqlalchemy import Connection, insert, select

from infra.database.schema.ledger_schema import UNDO_CHANGES, audit_log
from infra.database.schema.schema import ingest_batches
from infra.installation import Installation, current
from infra.locks import advisory_locks
from models import columns
from models.errors import TailorbirdError
from models.ingest.check.file_names import file_name
from models.primitives.recorded_reasons import reason_fault
from tasks.ingest import ledger
from tasks.ingest.undo import entities
from tasks.ingest.undo import events as undo_events
from tasks.ingest.undo.choice import choose
from tasks.ingest.undo.settle import settle
from tasks.ingest.undo.traces import applied, find_traces
from tasks.orchestration.defects import without_values

_HOLDER = "holder"
_NOTHING: Final[dict[str, Any]] = dict.fromkeys((*UNDO_CHANGES, "events_kept", "quarantined_removed"), 0)


def require_reason(reason: str) -> None:
    """Raise TailorbirdError for a reason without a word."""
    if fault := reason_fault(reason, "the batches are undone", "the wrong file"):
        raise TailorbirdError(fault)


def preview(batches: Sequence[str], source: str | None = None) -> dict[str, Any]:
    """Return what an undo would remove, batch by batch, and what was made from it; nothing is changed."""
    installation = current()
    with installation.engine.connect() as connection:
        chosen = choose(connection, batches, source)
        lines = [
            line | (_NOTHING if _cut_short(line) else _removed(installation, connection, line["batch_id"], chosen)[0])
            for line in (_line(connection, batch_id) for batch_id in chosen)
        ]
        connection.rollback()
        return {"batches": lines, **_traces(connection, lines, applied(connection, chosen))}


@task(description="Remove exactly what batches brought; what other batches brought stays.")
@without_values
def undo_batches(batches: Sequence[str], source: str | None, actor: str, reason: str) -> dict[str, Any]:
    """Undo batches, the newest first; returns what was removed, and what was made from it.

    Killed at any moment, the same call goes on, and so does the next ingest of events. Raises TailorbirdError if a
    batch cannot be undone, LockHeldError while another run works on it.
    """
    installation = current()
    require_reason(reason)
    with installation.engine.connect() as connection:
        chosen = choose(connection, batches, source)
    lines = [_undo(installation, batch_id, actor, reason) for batch_id in chosen]
    came = {line["batch_id"]: line.pop(undo_events.APPLIED, None) for line in lines}
    with installation.engine.connect() as connection:
        return {"batches": lines, **_traces(connection, lines, came)}


def _traces(connection: Connection, lines: Sequence[dict[str, Any]], came: dict[str, str]) -> dict[str, Any]:
    """Return what was made from batches that count since these moments: nothing, if none of its content changes."""
    moments = [came.get(line["batch_id"]) for line in lines if any(map(line.get, UNDO_CHANGES))]
    first = min((datetime.fromisoformat(moment) for moment in moments if moment), default=None)
    return find_traces(connection, first)._asdict()


def _undo(installation: Installation, batch_id: str, actor: str, reason: str) -> dict[str, Any]:
    """Undo one batch: first all of PostgreSQL, where it counts no more from then on, then the lake, then the ledger."""
    with (
        advisory_locks.locked(installation.engine, batch_id),
        advisory_locks.locked(installation.engine, "the lake's events", wait=True) as confirm,
    ):
        with installation.engine.connect() as connection:
            cut_short = _cut_short(_line(connection, batch_id))
        settle(installation, "" if cut_short else batch_id)
        with installation.engine.begin() as connection:
            status, found, moved = _line(connection, batch_id)["status"], _NOTHING, dict[str, int]()
            since = applied(connection, [batch_id]).get(batch_id)
            if status == ledger.COMMITTED:
                found, moved = _removed(installation, connection, batch_id, [batch_id])
            if cut_short or status == ledger.COMMITTED:
                detail = found | {"moved": moved, undo_events.APPLIED: since}
                entry = {"action": undo_events.UNDO, "subject": batch_id, "actor": actor, "reason": reason}
                connection.execute(insert(audit_log).values(entry | {"detail": detail}))
                ledger.set_status(connection, batch_id, ledger.UNDOING, f"Being undone by {actor}: {reason}")
        with installation.engine.connect() as connection:
            status = _line(connection, batch_id)["status"]
        confirm()
        if status == ledger.UNDOING:
            undo_events.finish(installation, batch_id)
    with installation.engine.connect() as connection:
        detail = undo_events.latest_undo(connection, batch_id)["detail"]
        return _line(connection, batch_id) | {name: found for name, found in detail.items() if name != "moved"}


def _cut_short(line: dict[str, Any]) -> bool:
    """Return whether a batch never counted; one that is coming in is locked by its run."""
    return bool(line["status"] == ledger.PENDING)


def _removed(
    installation: Installation, connection: Connection, batch_id: str, gone: Sequence[str]
) -> tuple[dict[str, int], dict[str, int]]:
    """Remove what a batch stated from PostgreSQL; returns counts, and the events that become those of other batches."""
    moved = undo_events.repeated_elsewhere(installation, connection, batch_id, gone)
    find = partial(_introductions, installation, moved, gone)
    events = undo_events.count(installation, batch_id)
    changes = entities.remove(installation, connection, batch_id, undo_events.users_of(installation, batch_id), find)
    waiting = connection.execute(
        select(ingest_batches.c.quarantined).where(ingest_batches.c.batch_id == batch_id)
    ).scalar_one()
    counts = {"events_removed": events - len(moved), "events_kept": len(moved), "quarantined_removed": int(waiting)}
    return counts | changes._asdict(), dict(Counter(moved[_HOLDER].to_pylist()))


def _introductions(installation: Installation, moved: Any, gone: Sequence[str], keys: Any) -> Any:
    """Return which other batches have events of these users, those included that become theirs."""
    import pyarrow as pa

    found = undo_events.introductions(installation, keys, gone)
    theirs = moved.select([_HOLDER, columns.USER_KEY]).rename_columns([columns.BATCH_ID, columns.USER_KEY])
    theirs = theirs.filter(pa.compute.is_in(theirs[columns.USER_KEY], keys[columns.USER_KEY].combine_chunks()))
    return pa.concat_tables([found, theirs.cast(found.schema)])


def _line(connection: Connection, batch_id: str) -> dict[str, Any]:
    entry = ingest_batches.c
    names = (entry.batch_id, entry.dataset, entry.source, entry.status, entry.location)
    line = dict(connection.execute(select(*names).where(entry.batch_id == batch_id)).mappings().one())
    return line | {"file": file_name(line.pop("location"))}

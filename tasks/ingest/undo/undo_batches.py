"""Undoes batches: removes exactly the rows that each added, and keeps those of other batches."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final, TypedDict, cast

import pyarrow as pa
import pyarrow.compute as pc
from prefect import task
from sqlalchemy import Connection, func, insert, select

from infra import locks
from infra.database.schema.ledger_schema import UNDO_CHANGES, audit_log, ingest_applications
from infra.database.schema.schema import datasets, ingest_batches, placements, recommendation_batches
from infra.installation import Installation, current
from models import columns
from models.errors import TailorbirdError, reason_fault
from models.ingest.check.file_names import file_name
from tasks.ingest import ledger
from tasks.ingest.rows import settle
from tasks.ingest.rows.settle import UndoDetail
from tasks.ingest.undo import entities
from tasks.orchestration.guards import without_values
from tasks.promotion.champion import current_champion

_NO_CHANGES: Final = cast(UndoDetail, dict.fromkeys((*UNDO_CHANGES, "events_kept", "quarantined_removed"), 0))
_REASONS: Final = {
    ledger.REFUSED: "was refused, and nothing of it was kept",
    ledger.UNDONE: "is undone already",
}


class UndoneBatch(UndoDetail, total=False):
    """A batch with the counts of its undo."""

    batch_id: str
    dataset: str
    source: str
    status: str
    file: str


class UndoResult(TypedDict):
    """Undone batches, and results that contain their rows."""

    batches: list[UndoneBatch]
    datasets: list[str]
    champion: int | None
    placements: list[str]


def require_reason(reason: str) -> None:
    """Raise TailorbirdError for an empty reason."""
    if fault := reason_fault(reason, "the batches are undone", "the wrong file"):
        raise TailorbirdError(fault)


def preview(batches: Sequence[str], source: str | None = None) -> UndoResult:
    """Return the rows that an undo would remove by batch, and results that contain them, without a change."""
    installation = current()
    with installation.engine.connect() as connection:
        chosen = _choose(connection, batches, source)
        lines: list[UndoneBatch] = []
        for batch_id in chosen:
            line, changes = _line(connection, batch_id), _NO_CHANGES
            if line["status"] != ledger.PENDING:
                changes, _ = _removed(installation, connection, batch_id, chosen)
            lines.append({**line, **changes})
        connection.rollback()
        return _result(connection, lines, _applied(connection, chosen))


@task(description="Remove exactly the rows that batches added; rows of other batches stay.")
@without_values
def undo_batches(batches: Sequence[str], source: str | None, actor: str, reason: str) -> UndoResult:
    """Undo batches, the newest first; returns the removed rows, and results that contain them.

    After an interruption the same call continues, and so does the next ingest of events. Raises TailorbirdError if a
    batch cannot be undone, LockHeldError while another run works on it.
    """
    installation = current()
    require_reason(reason)
    with installation.engine.connect() as connection:
        chosen = _choose(connection, batches, source)
    lines = [_undo(installation, batch_id, actor, reason) for batch_id in chosen]
    applied_at = {line["batch_id"]: line.pop("applied_at", None) for line in lines}
    with installation.engine.connect() as connection:
        return _result(connection, lines, applied_at)


def _result(connection: Connection, lines: Sequence[UndoneBatch], applied_at: Mapping[str, str | None]) -> UndoResult:
    """Return the batches, with the results since the first of those with changes counted."""
    moments = [applied_at.get(line["batch_id"]) for line in lines if any(map(line.get, UNDO_CHANGES))]
    first = min((datetime.fromisoformat(moment) for moment in moments if moment), default=None)
    result = UndoResult(batches=list(lines), datasets=[], champion=None, placements=[])
    if first is None:
        return result
    made = select(datasets.c.version).where(datasets.c.created_at >= first).order_by(datasets.c.created_at)
    result["datasets"] = list(connection.execute(made).scalars())
    champion = current_champion(connection)
    if champion is not None and champion["dataset_version"] in result["datasets"]:
        result["champion"] = int(champion["model_version"])
    lists = (
        select(placements.c.placement)
        .join(recommendation_batches, recommendation_batches.c.batch_id == placements.c.batch_id)
        .where(recommendation_batches.c.created_at >= first)
        .order_by(placements.c.placement)
    )
    result["placements"] = list(connection.execute(lists).scalars())
    return result


def _undo(installation: Installation, batch_id: str, actor: str, reason: str) -> UndoneBatch:
    """Undo one batch: first in PostgreSQL, from when on it does not count, then in the lake, then in the ledger."""
    with (
        locks.locked(installation.engine, batch_id),
        locks.locked(installation.engine, "the lake's events", wait=True) as confirm,
    ):
        with installation.engine.connect() as connection:
            # One that is being ingested is locked by its run; this one was never committed.
            interrupted = _line(connection, batch_id)["status"] == ledger.PENDING
        settle.settle(installation, "" if interrupted else batch_id)
        with installation.engine.begin() as connection:
            status, changes, moved = _line(connection, batch_id)["status"], _NO_CHANGES, dict[str, int]()
            since = _applied(connection, [batch_id]).get(batch_id)
            if status == ledger.COMMITTED:
                changes, moved = _removed(installation, connection, batch_id, [batch_id])
            if interrupted or status == ledger.COMMITTED:
                detail: UndoDetail = {**changes, "moved": moved, "applied_at": since}
                entry = {"action": settle.UNDO, "subject": batch_id, "actor": actor, "reason": reason}
                connection.execute(insert(audit_log).values(entry | {"detail": detail}))
                ledger.set_status(connection, batch_id, ledger.UNDOING, f"Being undone by {actor}: {reason}")
        with installation.engine.connect() as connection:
            status = _line(connection, batch_id)["status"]
        confirm()
        if status == ledger.UNDOING:
            settle.finish(installation, batch_id)
    with installation.engine.connect() as connection:
        undo = settle.latest_undo(connection, batch_id)
        assert undo is not None
        line: UndoneBatch = {**_line(connection, batch_id), **undo.detail}
        line.pop("moved", None)
        return line


def _removed(
    installation: Installation, connection: Connection, batch_id: str, undone: Sequence[str]
) -> tuple[UndoDetail, dict[str, int]]:
    """Remove a batch's statements from PostgreSQL; returns counts, and the events that move to other batches."""
    moved = settle.repeated_elsewhere(installation, connection, batch_id, undone)
    find = partial(_introductions, installation, moved, undone)
    users = settle.users_of(installation, batch_id)
    changes = entities.remove(installation, connection, batch_id, users, find)
    quarantined = select(ingest_batches.c.quarantined).where(ingest_batches.c.batch_id == batch_id)
    waiting = int(connection.execute(quarantined).scalar_one())
    events = pc.sum(users["events"]).as_py() or 0
    counts = UndoDetail(events_removed=int(events) - len(moved), events_kept=len(moved), quarantined_removed=waiting)
    return counts | changes, dict(Counter(moved[settle.HOLDER].to_pylist()))


def _introductions(installation: Installation, moved: pa.Table, undone: Sequence[str], keys: pa.Table) -> pa.Table:
    """Return which other batches have events of these users, including events that move to them."""
    introductions = settle.introductions(installation, keys, undone)
    holders = moved.select([settle.HOLDER, columns.USER_KEY]).rename_columns([columns.BATCH_ID, columns.USER_KEY])
    holders = holders.filter(pc.is_in(holders[columns.USER_KEY], keys[columns.USER_KEY].combine_chunks()))
    return pa.concat_tables([introductions, holders.cast(introductions.schema)])


def _line(connection: Connection, batch_id: str) -> UndoneBatch:
    entry = ingest_batches.c
    chosen = select(entry.batch_id, entry.dataset, entry.source, entry.status, entry.location.label("file"))
    row = connection.execute(chosen.where(entry.batch_id == batch_id)).mappings().one()
    return cast(UndoneBatch, {**row, "file": file_name(row["file"])})


def _choose(connection: Connection, batches: Sequence[str], source: str | None) -> list[str]:
    """Return the named batches, or all of a source, the newest first.

    Raises TailorbirdError if one cannot be undone.
    """
    if bool(batches) == bool(source):
        raise TailorbirdError("Name the batches to undo, or one --source; `tailorbird ledger` lists both.")
    entry = ingest_batches.c
    rows = select(entry.batch_id, entry.status, entry.location).order_by(
        entry.finished_at.desc().nulls_first(), entry.batch_id.desc()
    )
    named = rows.where(entry.source == source if source else entry.batch_id.in_(batches))
    row_of = {row["batch_id"]: row for row in connection.execute(named).mappings()}
    for name in batches:
        if name not in row_of:
            raise TailorbirdError(f"There is no batch {name!r}; `tailorbird ledger` lists them.")
        if row_of[name]["status"] in _REASONS:
            raise TailorbirdError(
                f"Batch {name} ({file_name(row_of[name]['location'])}) {_REASONS[row_of[name]['status']]}. "
                f"`tailorbird ledger {name}` shows it."
            )
    chosen = [name for name, row in row_of.items() if row["status"] not in _REASONS]
    if not chosen:
        raise TailorbirdError(f"The source {source!r} has no batch to undo; `tailorbird ledger` lists all batches.")
    _refuse_old(connection, chosen)
    return chosen


def _refuse_old(connection: Connection, batches: list[str]) -> None:
    """Refuse batches of earlier versions, which did not store the values that they replaced."""
    entry = ingest_applications.c
    old = select(entry.batch_id).where(entry.batch_id.in_(batches), entry.repeats == 0).limit(1)
    name = connection.execute(old).scalar()
    if name is not None:
        raise TailorbirdError(
            f"Batch {name} was ingested by an earlier version, which did not keep what the batch replaced. "
            "Correct its file or mapping and ingest it again: `tailorbird ingest SOURCE PATH`."
        )


def _applied(connection: Connection, batches: list[str]) -> dict[str, str]:
    """Return since when each of these batches counts, as text."""
    entry = ingest_applications.c
    first = select(entry.batch_id, func.min(entry.applied_at)).where(entry.batch_id.in_(batches))
    return {name: moment.isoformat() for name, moment in connection.execute(first.group_by(entry.batch_id)).tuples()}

"""Chooses the batches to undo, and refuses batches that cannot be undone."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, RowMapping, select

from infra.database.schema.ledger_schema import ingest_applications
from infra.database.schema.schema import ingest_batches
from models.errors import TailorbirdError
from models.ingest.check.file_names import file_name
from tasks.ingest import ledger

_REASONS: Final = {
    ledger.REFUSED: "was refused, and nothing of it was kept",
    ledger.UNDONE: "is undone already",
}


def choose(connection: Connection, batches: Sequence[str], source: str | None) -> list[str]:
    """Return the named batches, or all of a source, the newest first.

    Raises TailorbirdError if one cannot be undone.
    """
    if bool(batches) == bool(source):
        raise TailorbirdError("Name the batches to undo, or one --source; `tailorbird ledger` lists both.")
    rows = _rows(connection, list(batches), source)
    row_of = {row["batch_id"]: row for row in rows}
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


def _rows(connection: Connection, batches: list[str], source: str | None) -> list[RowMapping]:
    entry = ingest_batches.c
    chosen = entry.source == source if source else entry.batch_id.in_(batches)
    newest = entry.finished_at.desc().nulls_first()
    rows = select(entry.batch_id, entry.status, entry.location).where(chosen).order_by(newest, entry.batch_id.desc())
    return list(connection.execute(rows).mappings())


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

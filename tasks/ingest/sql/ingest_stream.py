"""Ingests the new rows of one table or query, in batches whose commit also stores the position of the cursor."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

from sqlalchemy import Select

from infra.installation import Installation
from infra.locks import advisory_locks
from models.ingest.tabular import transform
from models.ingest.tabular.sql_cursor import CursorError, CursorPosition, kind_of
from models.ingest.tabular.table_mapping import Mapping
from tasks.ingest import ledger
from tasks.ingest.batch_identity import batch_of, part_of, request_of
from tasks.ingest.events.ingest_events import store_events
from tasks.ingest.ledger_records import IngestRequest, LedgerEntry, SqlRequest
from tasks.ingest.reference.ingest_items import store_items
from tasks.ingest.reference.ingest_users import store_users
from tasks.ingest.sql import positions
from tasks.ingest.sql.sql_requests import Dataset, SqlIngest, Stream
from tasks.ingest.sql.stream_run import Extent, StreamRun, extent_of
from tasks.ingest.sql.table_changes import changes, columns_of
from tasks.orchestration.progress import progress
from tasks.orchestration.run_artifacts import announce
from tasks.sources.sql.pull_rows import BATCH_ROWS, Pull, pull_rows
from tasks.sources.sql.relation import open_relation
from tasks.sources.sql.source_database import SourceDatabase
from tasks.sources.temp_folders import scratch

_STORE: Final[dict[Dataset, Callable[[Installation, Mapping, ledger.Batch, Path], LedgerEntry]]] = {
    "items": store_items,
    "users": store_users,
    "events": store_events,
}
_SPOOL: Final = "sql"
"""The folder below `var` for rows on their way; it is private, and emptied after each batch."""


def ingest_stream(
    installation: Installation,
    request: SqlIngest,
    mapping: Mapping,
    stream: Stream,
    database: SourceDatabase,
    lines: list[LedgerEntry],
    most: int = BATCH_ROWS,
) -> None:
    """Ingest the rows since the last run in batches; adds their lines in the ledger to `lines`.

    The position of the cursor is a part of each batch's line in the ledger: it counts when the batch is committed. A
    killed run is repeated from there. Raises TailorbirdError for what stops it; committed batches stay.
    """
    key = stream.key(database.name)
    with advisory_locks.locked(installation.engine, f"{mapping.name} {stream.dataset} {key}", purpose=stream.name):
        part = part_of(mapping, stream.dataset)
        with database.connected() as connection:
            relation = open_relation(
                database,
                connection,
                stream.name,
                stream.keys,
                transform.needed(part),
                part.optional,
                part.direct_columns(part.needed),
            )
        with installation.engine.connect() as connection:
            latest = positions.latest(connection, mapping.name, stream.dataset, key)
        run = StreamRun(installation, request, mapping, stream, database, relation, latest, most)
        extent = extent_of(run)
        lines.extend(filter(None, _batches(run, extent)))


def _batches(run: StreamRun, extent: Extent) -> Iterator[LedgerEntry | None]:
    """Ingest batch after batch; yields their lines, or None for one that only repeats rows."""
    relation, stored = run.relation, run.stored
    if extent.without_cursor:
        announce(
            f"{extent.without_cursor:,} rows of {relation.name} have no {relation.cursor}: they are read in each run. "
            f"A query with coalesce({relation.cursor}, …) AS {relation.cursor} would read them once"
        )
        with _pulled(run, relation.rows_without_cursor(), extent.without_cursor, None) as (path, pull):
            yield _ingested(run, path, pull, stored)
    if not extent.rows:
        announce(_nothing_new(run, extent))
        return
    start, inclusive, left = extent.start, True, extent.rows
    while True:
        statement = relation.rows(start, inclusive=inclusive)
        with _pulled(run, statement, left, run.most) as (path, pull):
            if pull.rows:
                yield _ingested(run, path, pull, _reached(pull, extent, stored, run.request.since))
        if pull.complete:
            return
        start, inclusive, left = pull.last, False, max(left - pull.rows, 0)


def _nothing_new(run: StreamRun, extent: Extent) -> str:
    """Return that no row waits; and why, if all values are below those that were read."""
    name, start, highest = run.relation.name, extent.start, extent.ceiling
    if start is None or highest is None or highest.value >= start.value:
        return f"{name} has no new rows"
    return (
        f"{name} has no new rows: its highest {run.relation.cursor} is {highest}, and rows from {start} on are read. "
        "If the table was rebuilt, state with --since where to begin"
    )


def _reached(pull: Pull, extent: Extent, stored: CursorPosition | None, since: str | None) -> CursorPosition | None:
    """Return the position to store with a batch: that of its last row, within the bound of the run."""
    if pull.last is None or extent.ceiling is None:
        return stored
    if kind_of(pull.last.value) != extent.ceiling.kind:
        raise CursorError("The cursor holds values of several kinds. Convert it to one type in a query.")
    reached = min(pull.last, extent.ceiling, key=lambda one: one.value)
    return reached if stored is None or since else max(reached, stored, key=lambda one: one.value)


@contextmanager
def _pulled(run: StreamRun, statement: Select[Any], rows: int, most: int | None) -> Iterator[tuple[Path, Pull]]:
    """Yield the rows of a statement as a file, after the database's transaction has ended."""
    with scratch(run.installation.settings.var / _SPOOL) as folder:
        path = folder / "rows.parquet"
        with progress(f"reading {run.relation.name}", rows) as advance, run.database.connected() as connection:
            pull = pull_rows(connection, run.relation, statement, path, advance, most)
        yield path, pull


def _ingested(run: StreamRun, path: Path, pull: Pull, reached: CursorPosition | None) -> LedgerEntry | None:
    """Ingest a pull as a batch, with its position; None if it holds the same rows as the latest batch."""
    columns = columns_of(run.relation, pull.types, run.columns_before)
    for line in changes(run.relation.name, run.columns_before, columns):
        if line not in run.announced:
            run.announced.add(line)
            announce(line)
    sql = SqlRequest(
        stream=run.key,
        url=run.request.url,
        options=cast("dict[str, str]", dict(run.request.options)),
        kind=reached.kind if reached else None,
        position=str(reached) if reached else None,
        columns=columns,
    )
    request: IngestRequest = request_of(run.request.mapping, dict(run.request.overrides)) | {"sql": sql}
    address = f"{run.database.name}/{run.relation.name}"
    batch = batch_of(run.mapping, run.stream.dataset, path, address, request)
    if run.relation.cursor and run.latest and _same_rows(batch, run.latest[0]):
        announce(f"{run.relation.name} has no new rows: {pull.rows:,} within the overlap were read before")
        return None
    positions.close_outdated(run.installation, batch, run.key)
    return _STORE[run.stream.dataset](run.installation, run.mapping, batch, path) | LedgerEntry(file=address)


def _same_rows(batch: ledger.Batch, name: str) -> bool:
    """Return whether a batch of that name has the same content, read by the same mapping."""
    return name == batch.batch_id or name.startswith(f"{batch.batch_id}-")

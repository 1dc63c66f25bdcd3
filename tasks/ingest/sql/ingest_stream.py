"""Ingests the new rows of tables and queries, in batches whose commit also stores the position of the cursor."""

from collections.abc import Callable, Iterator
from collections.abc import Mapping as Words
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from prefect import task
from sqlalchemy import Select

from infra import locks
from infra.installation import Installation, current
from models.errors import TailorbirdError
from models.ingest.tabular.sql_cursor import CursorError, CursorPosition
from models.ingest.tabular.table_mapping import Mapping
from models.primitives.escaping import for_terminal
from tasks.ingest import ledger
from tasks.ingest.events.ingest_events import store_events
from tasks.ingest.ledger import IngestRequest, LedgerEntry, SqlRequest, batch_of, request_of
from tasks.ingest.reference.ingest_reference import store_items, store_users
from tasks.ingest.sql.stream_run import (
    Dataset,
    Extent,
    SqlIngest,
    Stream,
    StreamRun,
    changes,
    close_outdated,
    columns_of,
    extent_of,
    latest_batch,
    streams_of,
)
from tasks.orchestration.guards import without_values
from tasks.orchestration.progress import progress
from tasks.orchestration.run_artifacts import announce
from tasks.sources.mapping_files import part_of, table_mapping
from tasks.sources.sql.pull_rows import BATCH_ROWS, Pull, pull_rows
from tasks.sources.sql.relation import exists, open_relation
from tasks.sources.sql.source_database import SourceDatabase, SourceDatabaseError, source_database
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
    with locks.locked(installation.engine, f"{mapping.name} {stream.dataset} {key}", purpose=stream.name):
        part = part_of(mapping, stream.dataset)
        with database.connected() as connection:
            relation = open_relation(database, connection, stream.name, stream.keys, part)
        with installation.engine.connect() as connection:
            latest = latest_batch(connection, mapping.name, stream.dataset, key)
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
    if pull.last.kind != extent.ceiling.kind:
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
        options=dict(run.request.options),
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
    close_outdated(run.installation, batch, run.key)
    return _STORE[run.stream.dataset](run.installation, run.mapping, batch, path) | LedgerEntry(file=address)


def _same_rows(batch: ledger.Batch, name: str) -> bool:
    """Return whether a batch of that name has the same content, read by the same mapping."""
    return name == batch.batch_id or name.startswith(f"{batch.batch_id}-")


@dataclass(frozen=True)
class IngestedStream:
    """The result of one table or query: the lines of its batches, and why it stopped before its end."""

    lines: list[LedgerEntry] = field(default_factory=list)
    refused: str | None = None


@task(description="List the tables and queries that a mapping reads from a database.")
@without_values
def list_streams(request: SqlIngest, only: str | None = None) -> list[Stream]:
    """Return the tables and queries of a mapping, in the order of the ingest.

    Of a list of tables, missing ones are left out with a message. Raises TailorbirdError if no table is there.
    """
    mapping = table_mapping(request.mapping, dict(request.overrides))
    streams = streams_of(mapping, request.options, only)
    with source_database(request.url) as database, database.connected() as connection:
        names = dict.fromkeys(stream.name for stream in streams if not stream.keys.query)
        missing = [name for name in names if not exists(database, connection, name)]
    for stream in streams:
        if stream.name in missing and all(name in missing for name in stream.keys.tables):
            raise SourceDatabaseError(
                f"{database.name} has no table {', '.join(stream.keys.tables)} that this login may read. Check the "
                "name, and write the schema before it, as in shop.orders."
            )
    if missing:
        announce(f"these tables are not there and are skipped: {', '.join(missing)}")
    return [stream for stream in streams if stream.name not in missing or stream.keys.query]


@task(description="Ingest the new rows of one table or query: each is stored, quarantined or counted, once.")
@without_values
def ingest_rows(request: SqlIngest, stream: Stream) -> IngestedStream:
    """Ingest the rows since the last run, in batches that store their position with their commit."""
    installation, mapping = current(), table_mapping(request.mapping, dict(request.overrides))
    lines: list[LedgerEntry] = []
    try:
        with source_database(request.url) as database:
            ingest_stream(installation, request, mapping, stream, database, lines)
    except TailorbirdError as error:
        return IngestedStream(lines, str(error))
    return IngestedStream(lines)


def refuse_tables(refused: Words[str, str]) -> None:
    """Raise TailorbirdError with each table that was not read to its end and the reason, if there are any."""
    if refused:
        reasons = "\n".join(f"  {for_terminal(f'{name}: {reason}')}" for name, reason in refused.items())
        raise TailorbirdError(
            f"{len(refused)} of the tables could not be read to their end:\n{reasons}\n"
            "Batches that were committed before stay; the next run continues after them."
        )

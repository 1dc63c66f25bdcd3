"""Finds the streams of a database, their rows that wait, and the position that the latest batch of each has stored."""

import hashlib
from collections.abc import Iterator
from collections.abc import Mapping as Words
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

import pyarrow as pa
from pydantic import ValidationError
from sqlalchemy import Connection, text

from expectations.batches import DATASETS
from expectations.batches import Dataset as Dataset
from infra import locks
from infra.database.engine import database_now
from infra.installation import Installation
from models.errors import TailorbirdError
from models.ingest.tabular.sql_cursor import CursorError, CursorKind, CursorPosition, SqlKeys
from models.ingest.tabular.table_mapping import Mapping
from models.ingest.tabular.transform import Part
from models.primitives.config_faults import faults
from tasks.ingest import ledger
from tasks.ingest.ledger import Batch, SqlRequest
from tasks.ingest.rows.settle import settle
from tasks.sources.mapping_files import part_of
from tasks.sources.sql.database_address import storable
from tasks.sources.sql.pull_rows import kind_name
from tasks.sources.sql.relation import Relation
from tasks.sources.sql.source_database import SourceDatabase

_SUMMER_TIME: Final = timedelta(hours=2)
"""The overlap for local clocks, which show an hour twice when summer time ends."""
_LATEST: Final = text(f"""
    SELECT batch_id, request -> 'sql' AS request FROM ingest_batches
    WHERE source = :source AND dataset = :dataset AND status = '{ledger.COMMITTED}'
        AND request -> 'sql' ->> 'stream' = :stream
    ORDER BY started_at DESC, batch_id DESC LIMIT 1""")
_OUTDATED: Final = text(f"""
    SELECT batch_id FROM ingest_batches
    WHERE source = :source AND dataset = :dataset AND status = '{ledger.PENDING}' AND batch_id <> :kept
        AND request -> 'sql' ->> 'stream' = :stream""")


@dataclass(frozen=True)
class SqlIngest:
    """The parameters of an ingest from a database."""

    mapping: str
    url: str
    """An address without secrets, or `env:NAME`."""
    overrides: Words[str, str]
    options: Words[str, str]
    """Options of the command that replace keys of the mapping."""
    since: str | None = None


@dataclass(frozen=True)
class Stream:
    """A table or query that one part of a mapping reads."""

    dataset: Dataset
    name: str
    keys: SqlKeys

    def key(self, database: str) -> str:
        """Return the name by which the ledger finds its position: rows of another database are another stream."""
        query = hashlib.sha256(self.keys.query.encode()).hexdigest()[:12] if self.keys.query else ""
        return " ".join(filter(None, (f"{database}/{self.name}", query, self.keys.cursor)))


def streams_of(mapping: Mapping, options: Words[str, str], only: str | None = None) -> list[Stream]:
    """Return the streams of a mapping, catalogue first. Raises TailorbirdError for a part without a table."""
    streams = []
    for dataset in DATASETS:
        part: Part | None = getattr(mapping, dataset)
        if part is None or (only and only != dataset):
            continue
        keys = with_options(part.sql, options)
        if not keys.query and not keys.tables:
            raise TailorbirdError(
                f"The mapping {mapping.name!r} names no table for {dataset}. Add one, as in "
                f'[{dataset}.sql] table = "orders", or give --table or --query.'
            )
        names = [dataset] if keys.query else keys.tables
        streams += [Stream(dataset, name, keys) for name in names]
    if not streams:
        part_of(mapping, only or "events")  # type: ignore[call-overload]  # explains what is missing
    return streams


def with_options(keys: SqlKeys | None, options: Words[str, str]) -> SqlKeys:
    """Return the keys of a part with the options of the command, which replace them."""
    stated = keys.model_dump(exclude_defaults=True, by_alias=True) if keys else {}
    if "table" in options or "query" in options:
        stated = {name: value for name, value in stated.items() if name not in ("table", "query")}
    try:
        return SqlKeys.model_validate({**stated, **options})
    except ValidationError as error:
        raise TailorbirdError(f"The options cannot be used: {'; '.join(faults(SqlKeys, error))}.") from None


def sql_ingest(
    mapping: str,
    url: str,
    overrides: Words[str, str],
    since: str | None = None,
    options: Words[str, str | None] = MappingProxyType({}),
) -> SqlIngest:
    """Return a request with the options that are given. Raises SecretInAddressError for an address with secrets."""
    given = {name: value for name, value in options.items() if value}
    return SqlIngest(mapping, storable(url), overrides, given, since)


@dataclass(frozen=True)
class StreamRun:
    """One run of a stream."""

    installation: Installation
    request: SqlIngest
    mapping: Mapping
    stream: Stream
    database: SourceDatabase
    relation: Relation
    latest: tuple[str, SqlRequest] | None
    """The latest committed batch of the stream."""
    most: int
    announced: set[str] = field(default_factory=set)
    """Changes of the table that this run has reported."""

    @property
    def key(self) -> str:
        """Return the name of the stream in the ledger."""
        return self.stream.key(self.database.name)

    @property
    def stored(self) -> CursorPosition | None:
        """Return the position that the latest batch reached."""
        request = self.latest[1] if self.latest else None
        if request is None or request["kind"] is None or request["position"] is None:
            return None
        return CursorPosition.parse(cast("CursorKind", request["kind"]), request["position"])

    @property
    def columns_before(self) -> dict[str, str]:
        """Return the columns of the run before, with their kinds."""
        return self.latest[1]["columns"] if self.latest else {}


@dataclass(frozen=True)
class Extent:
    """The rows that wait, and the bound of the position that this run may store."""

    start: CursorPosition | None
    rows: int
    ceiling: CursorPosition | None
    """The highest value at the start of the run, but no time to come. Rows that appear later with smaller values are
    then within the overlap of the next run."""
    without_cursor: int


def extent_of(run: StreamRun) -> Extent:
    """Return the rows that wait. Raises CursorError if the stored position does not fit the cursor any more."""
    relation, stored = run.relation, run.stored
    ceiling, without_cursor = None, 0
    with run.database.connected() as connection:
        if relation.cursor:
            without_cursor = int(connection.execute(relation.count_without_cursor()).scalar_one())
            highest = connection.execute(relation.highest()).scalar_one()
            ceiling = None if highest is None else CursorPosition.of(highest, relation.cursor)
        if ceiling and stored and stored.kind != ceiling.kind and not run.request.since:
            raise CursorError(
                f"The cursor {relation.cursor!r} of {relation.name} held a {stored.kind} and now holds a "
                f"{ceiling.kind}. Nothing was stored, and no row is skipped. State with --since where to continue."
            )
        start = _start(run, ceiling.kind, stored) if ceiling else None
        rows = int(connection.execute(relation.count(start)).scalar_one())
    return Extent(start, rows, None if ceiling is None else _no_later_than_now(run, ceiling), without_cursor)


def _start(run: StreamRun, kind: CursorKind, stored: CursorPosition | None) -> CursorPosition | None:
    """Return the position from which a run reads: the requested one, or the stored one without the overlap."""
    if run.request.since:
        return CursorPosition.parse(kind, run.request.since)
    if stored is None:
        return None
    window = run.stream.keys.window
    if window is None and kind == "local time" and part_of(run.mapping, run.stream.dataset).zone != "UTC":
        window = _SUMMER_TIME
    return stored.back(window)


def _no_later_than_now(run: StreamRun, position: CursorPosition) -> CursorPosition:
    """Return the position, or the present if it is in the future: a clock that is wrong must not hide later rows."""
    if position.kind == "number":
        return position
    with run.installation.engine.connect() as connection:
        now: Any = database_now(connection)
    if position.kind != "time":
        zone = part_of(run.mapping, run.stream.dataset).zone
        now = now.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    if position.kind == "date":
        now = cast("datetime", now).date()
    return min(position, replace(position, value=now), key=lambda one: one.value)


def latest_batch(connection: Connection, source: str, dataset: str, stream: str) -> tuple[str, SqlRequest] | None:
    """Return the latest committed batch of a stream with its request."""
    found = connection.execute(_LATEST, {"source": source, "dataset": dataset, "stream": stream}).first()
    return None if found is None else (found.batch_id, cast("SqlRequest", found.request))


def close_outdated(installation: Installation, batch: Batch, stream: str) -> None:
    """Close interrupted batches of a stream whose rows are read again as `batch`. Call it under the stream's lock."""
    where = {"source": batch.source, "dataset": batch.dataset, "stream": stream, "kept": batch.batch_id}
    with installation.engine.connect() as connection:
        outdated = list(connection.execute(_OUTDATED, where).scalars())
    if not outdated:
        return
    with locks.locked(installation.engine, "the lake's events", wait=True):
        settle(installation, batch.batch_id)
    with installation.engine.begin() as connection:
        for name in outdated:
            ledger.set_status(
                connection, name, ledger.UNDONE, "It was cut short. Its rows were read again, as another batch."
            )


def columns_of(relation: Relation, types: Words[str, pa.DataType], before: Words[str, str]) -> dict[str, str]:
    """Return all columns with the kinds of those that were read; a column without values keeps its earlier kind."""
    kinds = {relation.found.get(name, name): kind_name(kind) for name, kind in types.items()}
    return {name: kinds.get(name) or before.get(name, "") for name in relation.all_columns}


def changes(name: str, before: Words[str, str], now: Words[str, str]) -> Iterator[str]:
    """Yield a sentence for each kind of change since the run before."""
    if not before:
        return
    if new := [column for column in now if column not in before]:
        yield f"{name} has new columns, which the mapping does not read unless it names them: {', '.join(new)}"
    if gone := [column for column in before if column not in now]:
        yield f"{name} has lost columns: {', '.join(gone)}"
    for column, kind in now.items():
        if kind and before.get(column) and before[column] != kind:
            yield (
                f"{name}: the column {column} held the kind {before[column]!r} and now holds {kind!r}; values that "
                "cannot be read wait in quarantine"
            )

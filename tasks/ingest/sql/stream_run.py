"""Finds the rows of a stream that wait, and the bound of the position that a run may store."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

from infra.database.clock import database_now
from infra.installation import Installation
from models.ingest.tabular.sql_cursor import CursorKind, CursorPosition
from models.ingest.tabular.table_mapping import Mapping
from tasks.ingest.batch_identity import part_of
from tasks.ingest.ledger_records import SqlRequest
from tasks.ingest.sql import positions
from tasks.ingest.sql.sql_requests import SqlIngest, Stream
from tasks.sources.sql.pull_rows import position_of
from tasks.sources.sql.relation import Relation
from tasks.sources.sql.source_database import SourceDatabase

_SUMMER_TIME: Final = timedelta(hours=2)
"""The overlap for local clocks, which show an hour twice when summer time ends."""


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
        return positions.position(self.latest[1] if self.latest else None)

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
    start, highest, without_cursor = None, None, 0
    with run.database.connected() as connection:
        if relation.cursor:
            without_cursor = int(connection.execute(relation.count_without_cursor()).scalar_one())
            highest = connection.execute(relation.highest()).scalar_one()
        if highest is not None:
            kind = position_of(highest, relation, None if run.request.since else stored).kind
            start = _start(run, kind, stored)
        rows = int(connection.execute(relation.count(start)).scalar_one())
    ceiling = None if highest is None else _no_later_than_now(run, CursorPosition.of(highest, relation.cursor or ""))
    return Extent(start, rows, ceiling, without_cursor)


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

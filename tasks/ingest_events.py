"""Takes the events of a table in."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from prefect import task

from expectations import contract
from infra.installation import Installation, current
from models import columns
from models.errors import TailorbirdError
from models.shapes import tabular
from models.shapes.mapping import EventsMapping, Mapping
from models.sql import query
from tasks import ledger
from tasks.batches import batch_of, part_of, request_of, tables
from tasks.defects import without_values
from tasks.ingest_batch import ingest_batch
from tasks.intake import Intake, Part
from tasks.prepare import prepared
from tasks.sources import files, places
from tasks.updates import CONSENT, Update

_SOURCE: Final = "the column of consent of the user's latest event"


def shaped(intake: Intake, mapping: Mapping, rows: pa.Table, first: int) -> Part:
    """One chunk of a table as a part; `first` is the number of its first row in the file."""
    part: EventsMapping = part_of(mapping, "events")
    selected = tabular.selected(rows, part)
    numbers = first + np.flatnonzero(selected)
    said, cleaned = tabular.events(rows.filter(selected), part, mapping.spelling)
    events, names = prepared(said, mapping, intake.here.key, numbers, identified=part.event_id is not None)
    skipped = len(rows) - len(events)
    return Part(events, names, routed=skipped, updates=partial(agreements, events), cleaned=cleaned)


def agreements(events: pa.Table, intake: Intake) -> Iterator[Update]:
    """Who agreed by an event of their own, of those who are known not to have agreed."""
    if not intake.doubted or events[columns.CONSENT].null_count == len(events):
        return
    statement = "SELECT user_key, max(occurred_at) AS said_at FROM events WHERE consent GROUP BY 1"
    said = query(statement, events=events.select([columns.USER_KEY, columns.OCCURRED_AT, columns.CONSENT]))
    doubted = intake.doubted - set(intake.suppressed.to_pylist())
    for key, moment in zip(said[columns.USER_KEY].to_pylist(), said["said_at"].to_pylist(), strict=True):
        if key in doubted and moment is not None:
            yield Update(CONSENT, key, {columns.CONSENT: True, "source": _SOURCE}, moment)


def parts_of(intake: Intake, mapping: Mapping, path: Path) -> Iterator[tuple[Part, int]]:
    """All chunks of a file, each with its number of rows."""
    part, first = part_of(mapping, "events"), 0
    for rows in files.chunks(path, tabular.needed(part), csv=files.csv_of(part)):
        yield shaped(intake, mapping, rows, first), len(rows)
        first += len(rows)


def checked(path: Path, address: str, part: Any) -> int:
    """How many rows a table has, once it was held against its contract. Raises ContractBrokenError."""
    csv, required = files.csv_of(part), tabular.kinds(part)
    rows = files.row_count(path, csv, required)
    contract.check(address, files.column_kinds(path, csv), rows, required, part.optional)
    return rows


def turned_away(here: Installation, batch: ledger.Batch, why: str) -> None:
    """Write down that a file is not what it should be: of a source whose newest file is refused, nothing is learned."""
    with here.engine.begin() as connection:
        ledger.open_batch(connection, batch)
        ledger.refuse_batch(connection, batch.batch_id, [], why)


@task(description="Events of one file: into the lake, into quarantine, or counted; every row once.")
@without_values
def ingest_events(mapping: str, file: str, overrides: dict[str, str] | None = None) -> dict[str, Any]:
    """Ingest one file of a mapping's events; returns the batch's line in the ledger.

    The same file again changes nothing; after a crash it goes on where it stopped. Raises ContractBrokenError when the
    file lacks what is needed, and BatchRefusedError when the batch as a whole is not what its suite expects: then
    nothing of it stays, but that the ledger says so.
    """
    here, known = current(), tables(mapping, overrides)
    part = part_of(known, "events")
    with places.fetched(file, here.settings.var) as path:
        batch = batch_of(known, "events", path, file, request_of(mapping, overrides))
        try:
            rows = checked(path, file, part)
        except TailorbirdError as error:
            turned_away(here, batch, str(error))
            raise
        return ingest_batch(here, known, batch, lambda intake: parts_of(intake, known, path), rows)

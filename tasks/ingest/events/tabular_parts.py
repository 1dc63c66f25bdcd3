"""Rows of a table of events as parts of a batch, in the way in which every reader of such tables takes them."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from expectations import contract
from models import columns
from models.ingest.tabular import transform
from models.ingest.tabular.config import EventsMapping, Mapping
from models.primitives.arrow_sql import query
from tasks.ingest.batch_identity import part_of
from tasks.ingest.entity_updates.apply import CONSENT, Update
from tasks.ingest.events.chunk_writer import Intake, Part
from tasks.ingest.quarantine.unreadable_lines import waiting_lines
from tasks.ingest.validation.event_enrichment import prepared
from tasks.sources import table_files

_SOURCE: Final = "the column of consent of the user's latest event"


Prepare = Callable[..., tuple[pa.Table, pa.Table]]
"""Takes what `prepared` takes; returns events and the names of their users."""


def shaped(
    intake: Intake,
    mapping: Mapping,
    chunk: table_files.Chunk,
    places: table_files.Places = table_files.ROWS,
    prepare: Prepare = prepared,
) -> Part:
    """Return one chunk of a table as a part."""
    part: EventsMapping = part_of(mapping, "events")
    selected = transform.selected(chunk.rows, part)
    numbers = chunk.numbers[np.flatnonzero(selected)]
    found = transform.events(chunk.rows.filter(selected), part, mapping.spelling)
    events, names = prepare(found.rows, mapping, intake.installation.key, numbers, identified=part.event_id is not None)
    return Part(
        events,
        names,
        routed=len(chunk.rows) - len(events),
        unreadable=waiting_lines(chunk.misfits, places, intake.installation.key),
        updates=partial(agreements, events),
        cleaned=found.counts,
        unread=places.noted(found.unread, events, numbers),
        places=places,
    )


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


def parts_of(intake: Intake, mapping: Mapping, path: Path, prepare: Prepare = prepared) -> Iterator[tuple[Part, int]]:
    """All chunks of a file, each with its number of rows."""
    part = part_of(mapping, "events")
    csv = table_files.csv_of(part)
    places = table_files.places(path, csv)
    for chunk in table_files.chunks(path, transform.needed(part), csv=csv):
        yield shaped(intake, mapping, chunk, places, prepare), len(chunk.rows)


def checked(path: Path, address: str, part: Any, tolerated: float = 0.0) -> int:
    """Return how many rows a table has, once it was held against its contract. Raises ContractBrokenError.

    A larger share of misfit lines than is `tolerated` makes it unreadable.
    """
    csv, required = table_files.csv_of(part), transform.kinds(part)
    rows = table_files.row_count(path, csv, required, tolerated)
    contract.check(
        address,
        table_files.column_kinds(path, csv),
        rows,
        required,
        part.optional,
        table_files.hint(path, csv, required),
    )
    return rows

"""Reads a table of events as chunks of a batch."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from expectations import contract
from models import columns
from models.ingest.tabular import transform
from models.ingest.tabular.config import EventsMapping, Mapping
from models.primitives.arrow_sql import query
from tasks.ingest.batch_identity import part_of
from tasks.ingest.entity_updates.apply import CONSENT, Update
from tasks.ingest.events.chunk_writer import Intake
from tasks.ingest.events.event_chunk import EventChunk
from tasks.ingest.quarantine.unreadable_lines import quarantined_lines
from tasks.ingest.validation.event_enrichment import prepare_events
from tasks.sources import table_files

_SOURCE: Final = "the column of consent of the user's latest event"
Prepare = Callable[..., tuple[pa.Table, pa.Table]]
"""Takes the arguments of `prepare_events`; returns events and their users."""


def shape_chunk(
    intake: Intake,
    mapping: Mapping,
    rows: table_files.Chunk,
    numbering: table_files.RowNumbering = table_files.BY_ROW,
    prepare: Prepare = prepare_events,
) -> EventChunk:
    """Return rows of a table as a chunk of events."""
    part: EventsMapping = part_of(mapping, "events")
    selected = transform.selected(rows.rows, part)
    positions = rows.numbers[np.flatnonzero(selected)]
    key, cleaned = intake.installation.key, transform.events(rows.rows.filter(selected), part, mapping.spelling)
    events, users = prepare(cleaned.rows, mapping, key, positions, identified=part.event_id is not None)
    return EventChunk(
        events,
        users,
        routed=len(rows.rows) - len(events),
        unreadable=quarantined_lines(rows.misfits, numbering, key),
        updates=partial(consent_updates, events),
        cleaned=cleaned.counts,
        unread=numbering.describe_unreadable(cleaned.unread, events, positions),
        numbering=numbering,
    )


def consent_updates(events: pa.Table, intake: Intake) -> Iterator[Update]:
    """Yield the agreements of users who refused before and agree by an event."""
    if not intake.refused_before or events[columns.CONSENT].null_count == len(events):
        return
    statement = "SELECT user_key, max(occurred_at) AS agreed_at FROM events WHERE consent GROUP BY 1"
    agreements = query(statement, events=events.select([columns.USER_KEY, columns.OCCURRED_AT, columns.CONSENT]))
    relevant = intake.refused_before - set(intake.suppressed.to_pylist())
    keys, moments = agreements[columns.USER_KEY].to_pylist(), agreements["agreed_at"].to_pylist()
    for key, moment in zip(keys, moments, strict=True):
        if key in relevant and moment is not None:
            yield Update(CONSENT, key, {columns.CONSENT: True, "source": _SOURCE}, moment)


def read_chunks(
    intake: Intake, mapping: Mapping, path: Path, prepare: Prepare = prepare_events
) -> Iterator[tuple[EventChunk, int]]:
    """Yield all chunks of a file, each with its number of rows."""
    part = part_of(mapping, "events")
    csv = table_files.csv_of(part)
    numbering = table_files.row_numbering(path, csv)
    for rows in table_files.chunks(path, transform.needed(part), csv=csv):
        yield shape_chunk(intake, mapping, rows, numbering, prepare), len(rows.rows)


def validate_file(path: Path, address: str, part: transform.Part, tolerated: float = 0.0) -> int:
    """Validate a table against its contract; returns its number of rows. Raises ContractViolationError.

    A larger share of misfit lines than `tolerated` makes the file unreadable.
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

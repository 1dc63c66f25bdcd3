"""Reads a table of events as chunks of a batch."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from expectations import contract
from infra.keys.credentials import DEVICE
from infra.keys.identity import pseudonyms
from models import columns
from models.ingest.canonical_schema import ANONYMOUS_ID, IS_DEVICE
from models.ingest.tabular import transform
from models.ingest.tabular.table_mapping import EventsMapping, Mapping
from models.primitives.arrow_sql import query
from tasks.ingest.batch_identity import part_of
from tasks.ingest.events.batch_context import BatchContext, EventChunk, RunState
from tasks.ingest.rows import apply
from tasks.ingest.rows.apply import CONSENT, Update
from tasks.ingest.rows.quarantine import quarantined_lines
from tasks.ingest.validation.event_enrichment import prepare_events
from tasks.sources import table_files

_SOURCE: Final = "the column of consent of the user's latest event"
Prepare = Callable[..., tuple[pa.Table, pa.Table]]
"""Takes the arguments of `prepare_events`; returns events and their users."""


def shape_chunk(
    context: BatchContext,
    mapping: Mapping,
    rows: table_files.Chunk,
    numbering: table_files.RowNumbering = table_files.BY_ROW,
    prepare: Prepare = prepare_events,
) -> EventChunk:
    """Return rows of a table as a chunk of events."""
    part: EventsMapping = part_of(mapping, "events")
    selected = transform.selected(rows.rows, part)
    positions = rows.numbers[np.flatnonzero(selected)]
    key, cleaned = context.installation.key, transform.events(rows.rows.filter(selected), part, mapping.spelling)
    stated, owners = _owners(cleaned.rows, key)
    events, users = prepare(stated, mapping, key, positions, identified=part.event_id is not None)
    return EventChunk(
        events,
        users,
        routed=len(rows.rows) - len(events),
        unreadable=quarantined_lines(rows.misfits, numbering, key),
        updates=partial(_updates, context, events, owners),
        cleaned=cleaned.counts,
        unread=numbering.describe_unreadable(cleaned.unread, events, positions),
        numbering=numbering,
    )


def _owners(rows: pa.Table, key: bytes) -> tuple[pa.Table, list[Update]]:
    """Return the rows without the devices of users, and the latest user of each of these devices."""
    if ANONYMOUS_ID not in rows.column_names:
        return rows, []
    statement = f"""
        SELECT {ANONYMOUS_ID} AS device, max_by(user_id, (coalesce(occurred_at, '-infinity'), user_id)) AS user_id,
            max(occurred_at) AS at FROM rows WHERE device IS NOT NULL AND user_id IS NOT NULL AND NOT {IS_DEVICE}
        GROUP BY device ORDER BY device"""
    named = rows.select([ANONYMOUS_ID, IS_DEVICE, columns.USER_ID, columns.OCCURRED_AT])
    owned = query(statement, rows=named)
    devices = pseudonyms(owned["device"].combine_chunks(), key, DEVICE).to_pylist()
    users = pseudonyms(owned[columns.USER_ID].combine_chunks(), key).to_pylist()
    stated = zip(devices, users, owned["at"].to_pylist(), strict=True)
    return rows.drop_columns([ANONYMOUS_ID]), [
        Update(apply.DEVICE, device, {columns.USER_KEY: user}, at) for device, user, at in stated
    ]


def _updates(context: BatchContext, events: pa.Table, owners: Sequence[Update], run: RunState) -> Iterator[Update]:
    """Yield agreements after a refusal, and the owners of devices."""
    yield from consent_updates(context, events, run)
    suppressed = set(context.suppressed.to_pylist())
    yield from (one for one in owners if not {one.key, one.payload[columns.USER_KEY]} & suppressed)


def consent_updates(context: BatchContext, events: pa.Table, run: RunState) -> Iterator[Update]:
    """Yield the agreements of users who refused before and agree by an event."""
    stated = columns.CONSENT in events.column_names and events[columns.CONSENT].null_count < len(events)
    if not run.refused_before or not stated:
        return
    statement = "SELECT user_key, max(occurred_at) AS agreed_at FROM events WHERE consent GROUP BY 1"
    agreements = query(statement, events=events.select([columns.USER_KEY, columns.OCCURRED_AT, columns.CONSENT]))
    relevant = run.refused_before - set(context.suppressed.to_pylist())
    keys, moments = agreements[columns.USER_KEY].to_pylist(), agreements["agreed_at"].to_pylist()
    for key, moment in zip(keys, moments, strict=True):
        if key in relevant and moment is not None:
            yield Update(CONSENT, key, {columns.CONSENT: True, "source": _SOURCE}, moment)


def read_chunks(
    context: BatchContext, mapping: Mapping, path: Path, prepare: Prepare = prepare_events
) -> Iterator[tuple[EventChunk, int]]:
    """Yield all chunks of a file, each with its number of rows."""
    part = part_of(mapping, "events")
    csv = table_files.csv_of(part)
    numbering = table_files.row_numbering(path, csv)
    for rows in table_files.chunks(path, transform.needed(part), csv=csv):
        yield shape_chunk(context, mapping, rows, numbering, prepare), len(rows.rows)


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

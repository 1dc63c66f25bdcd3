"""Reads lines of an export as chunks of a batch: events, and updates of items, users and devices."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.keys.identity import pseudonyms_of
from models import columns
from models.ingest import canonical_schema
from models.ingest.canonical_schema import ParsedLines
from models.ingest.segment.line_mapping import LineMapping
from models.ingest.traffic.traffic_filter import people
from models.primitives.arrow_sql import query
from tasks.ingest.events.batch_context import BatchContext
from tasks.ingest.events.event_chunk import EventChunk
from tasks.ingest.events.segment_updates import EntityUpdates
from tasks.ingest.validation import row_triage
from tasks.ingest.validation.event_enrichment import prepare_events, pseudonymise
from tasks.sources import line_reader


def _unreadable(lines: ParsedLines, rows: pa.Table, name: str, first: int) -> pa.Table:
    """Return unreadable lines for quarantine: their places and faults, without their text."""
    bad = lines.unreadable
    located = query(
        'SELECT bad.*, rows."offset" FROM bad JOIN rows USING (row_number) ORDER BY row_number',
        bad=bad,
        rows=rows.select([line_reader.ROW_NUMBER, line_reader.OFFSET]),
    )
    return pa.table(
        {
            "file": pa.repeat(name, len(located)),
            "line": pc.add(located[line_reader.ROW_NUMBER], 1),
            "offset": located[line_reader.OFFSET],
            row_triage.REASON: located[canonical_schema.REASON],
            "sha256": located[canonical_schema.SHA256],
            columns.ROW: pa.array(range(first, first + len(located)), pa.int64()),
            row_triage.RULES: pa.array([[row_triage.UNREADABLE]] * len(located), pa.list_(pa.string())),
        }
    )


def without_placeholders(lines: ParsedLines, placeholders: list[str]) -> ParsedLines:
    """Drop statements about ids that stand for no person. Events with such ids are left to the rules."""
    tables: dict[str, pa.Table] = {name: getattr(lines, name) for name in ("users", "answers", "aliases")}
    rows = {name: table.filter(people(table[columns.USER_ID], placeholders)) for name, table in tables.items()}
    anonymous = rows["aliases"][canonical_schema.ANONYMOUS_ID]
    rows["aliases"] = rows["aliases"].filter(people(anonymous, placeholders))
    return replace(lines, **rows)


def _trait_users(lines: ParsedLines, key: bytes) -> pa.Table:
    """Return the users who state traits, with their consent to that; a user may occur twice."""
    stated = lines.users.select([columns.USER_ID, canonical_schema.IS_DEVICE, columns.CONSENT])
    rows, users = pseudonymise(stated, key)
    return users.take(rows[row_triage.USER_CODE]).append_column(columns.CONSENT, rows[columns.CONSENT])


def _with_last(chunks: Iterator[pa.Table]) -> Iterator[tuple[pa.Table, bool]]:
    """Yield each chunk, and whether it is the last."""
    following = next(chunks, None)
    while following is not None:
        rows, following = following, next(chunks, None)
        yield rows, following is None


def no_people(mapping: LineMapping) -> list[str]:
    """Return the ids that stand for no person whose traits, answers and devices count."""
    return [*mapping.placeholders, *mapping.traffic.internal_users]


def read_chunks(
    context: BatchContext, mapping: LineMapping, path: Path, address: str, size: int | None = None
) -> Iterator[tuple[EventChunk, int]]:
    """Yield all chunks of a file, of `size` bytes if that is given, each with the number of its bytes."""
    first, before, name = 0, 0, address.rpartition("/")[2]
    key = context.installation.key
    updates = EntityUpdates(context, partial(pseudonyms_of, key=key))
    placeholders = no_people(mapping)
    for rows, last in _with_last(line_reader.chunks(path, size)):
        lines = without_placeholders(mapping.parse_lines(rows), placeholders)
        raw = lines.events.drop_columns([canonical_schema.ROW_NUMBER])
        events, users = prepare_events(raw, mapping, key, np.arange(first, first + len(raw)))
        chunk = EventChunk(
            events,
            users,
            _trait_users(lines, key),
            pc.unique(lines.items[columns.ITEM_ID]).cast(pa.string()),
            len(lines.routed),
            _unreadable(lines, rows, name, first + len(events)),
            partial(updates.of_chunk, lines, last),
            lines.cleaned,
        )
        read = int(rows.schema.metadata[line_reader.READ])
        yield chunk, read - before
        first, before = first + chunk.read, read

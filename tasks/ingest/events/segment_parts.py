"""Lines of a Segment export as parts of a batch: events, and what the lines say about items, users and devices."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models import columns
from models.ingest import canonical_schema, placeholder_ids
from models.ingest.canonical_schema import ParsedLines
from models.ingest.segment import parse
from models.ingest.segment.config import SegmentMapping
from models.ingest.traffic_filter import people
from models.primitives.arrow_sql import query
from tasks.ingest.entity_updates.item_changes import ItemChanges
from tasks.ingest.entity_updates.item_update_cache import Catalogue
from tasks.ingest.events.chunk_writer import Intake, Part
from tasks.ingest.events.segment_updates import updates_of
from tasks.ingest.validation import row_triage
from tasks.ingest.validation.event_enrichment import prepared, pseudonymise
from tasks.sources import line_reader


def _unreadable(found: ParsedLines, rows: pa.Table, name: str, first: int) -> pa.Table:
    """Lines that say nothing, for quarantine: where they are and why, never what they hold."""
    bad = found.unreadable
    where = query(
        'SELECT bad.*, rows."offset" FROM bad JOIN rows USING (row_number) ORDER BY row_number',
        bad=bad,
        rows=rows.select([line_reader.ROW_NUMBER, line_reader.OFFSET]),
    )
    return pa.table(
        {
            "file": pa.repeat(name, len(where)),
            "line": pc.add(where[line_reader.ROW_NUMBER], 1),
            "offset": where[line_reader.OFFSET],
            row_triage.REASON: where[canonical_schema.REASON],
            "sha256": where[canonical_schema.SHA256],
            columns.ROW: pa.array(range(first, first + len(where)), pa.int64()),
            row_triage.RULES: pa.array([[row_triage.UNREADABLE]] * len(where), pa.list_(pa.string())),
        }
    )


def _of_people(found: ParsedLines, nobody: list[str]) -> ParsedLines:
    """The same, but for what is said of ids that nobody has. Events with such ids are for the rules."""
    tables: dict[str, pa.Table] = {name: getattr(found, name) for name in ("users", "answers", "aliases")}
    kept = {name: rows.filter(people(rows[columns.USER_ID], nobody)) for name, rows in tables.items()}
    kept["aliases"] = kept["aliases"].filter(people(kept["aliases"][canonical_schema.ANONYMOUS_ID], nobody))
    return replace(found, **kept)


def _identified(found: ParsedLines, key: bytes) -> pa.Table:
    """The names of who tells traits, and their consent to it; the same person may be there twice."""
    rows, names = pseudonymise(found.users.select([columns.USER_ID, columns.CONSENT]), key)
    return names.take(rows[row_triage.USER_CODE]).append_column(columns.CONSENT, rows[columns.CONSENT])


def _with_last(chunks: Iterator[pa.Table]) -> Iterator[tuple[pa.Table, bool]]:
    """Each chunk, and whether it is the last."""
    coming = next(chunks, None)
    while coming is not None:
        rows, coming = coming, next(chunks, None)
        yield rows, coming is None


def parts_of(
    intake: Intake, mapping: SegmentMapping, path: Path, address: str, size: int | None = None
) -> Iterator[tuple[Part, int]]:
    """All chunks of a file, of `size` bytes if it is given, each with the number of bytes that were read for it."""
    first, before, catalogue, changes, name = 0, 0, Catalogue(), ItemChanges(), address.rpartition("/")[2]
    nobody = (
        placeholder_ids.spellings([*placeholder_ids.PEOPLE, *mapping.placeholder_ids]) + mapping.traffic.internal_users
    )
    shape: Callable[[pa.Table], ParsedLines] = partial(
        parse.parse_lines,
        rule=mapping.page_rule(),
        meanings=mapping.meanings(),
        traits=mapping.traits,
        consent_categories=mapping.consent_categories,
        spelling=mapping.spelling,
    )
    for rows, last in _with_last(line_reader.chunks(path, size)):
        found = _of_people(shape(rows), nobody)
        said_events = found.events.drop_columns([canonical_schema.ROW_NUMBER, canonical_schema.ANONYMOUS_ID])
        events, names = prepared(
            said_events, mapping, intake.installation.key, np.arange(first, first + len(said_events))
        )
        bad = _unreadable(found, rows, name, first + len(events))
        named = pc.unique(found.items[columns.ITEM_ID]).cast(pa.string())
        said = partial(updates_of, found, catalogue, changes, last)
        told = _identified(found, intake.installation.key)
        part = Part(events, names, told, named, len(found.routed), bad, said, found.cleaned)
        read = int(rows.schema.metadata[line_reader.READ])
        yield part, read - before
        first, before = first + part.read, read

"""Ingests the catalogue."""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Final

import pyarrow as pa
from prefect import task
from sqlalchemy import Connection

from expectations.batches import highest_quarantined
from infra.database.bulk_copy import upsert
from infra.database.engine import database_now
from infra.database.schema.schema import items
from infra.installation import Installation
from models import columns
from models.ingest.tabular import transform
from models.ingest.tabular.table_mapping import ItemsMapping, Mapping
from models.ingest.tabular.transform import Cleaned
from tasks.ingest import ledger
from tasks.ingest.events.chunk_readers import validate_file
from tasks.ingest.events.ingest_events import ingest_file
from tasks.ingest.ledger import LedgerEntry
from tasks.ingest.reference.reference_file import ReferenceFile, ingest_reference
from tasks.ingest.rows import statements
from tasks.ingest.rows.apply import ITEM_CHANGES
from tasks.orchestration import run_names
from tasks.orchestration.guards import without_values
from tasks.sources.mapping_files import part_of

_OFFER: Final = (
    *(columns.URL, columns.IMAGE, columns.IN_STOCK, columns.AVAILABLE_FROM, columns.AVAILABLE_UNTIL),
    columns.CURRENCY,
)
_NAMES: Final = (
    *(columns.ITEM_ID, columns.TITLE, columns.CATEGORY, columns.BRAND, columns.PRICE, columns.AVAILABLE),
    *_OFFER,
)
_COLUMNS: Final = (*_NAMES, columns.ATTRIBUTES, columns.BATCH_ID, "field_timestamps")


@task(task_run_name=run_names.of_file("ingest items"), description="Ingest the catalogue of one file into PostgreSQL.")
@without_values
def ingest_items(mapping: str, file: str, overrides: dict[str, str] | None = None) -> LedgerEntry:
    """Ingest one file of a mapping's items; returns the batch's line in the ledger. Raises BatchRefusedError."""
    return ingest_file(Mapping, mapping, overrides, file, "items", store_items)


def store_items(installation: Installation, tables: Mapping, batch: ledger.Batch, path: Path) -> LedgerEntry:
    """Ingest a table of items as a batch, as `ingest_items` does."""
    part = part_of(tables, "items")
    validate_file(path, batch.location, part, highest_quarantined("items", tables.limits))

    def shape(rows: pa.Table) -> Cleaned:
        return transform.items(rows, part, tables.spelling)

    def store(connection: Connection, rows: pa.Table, stated: pa.Table, batch_id: str) -> None:
        lines = _lines(rows, part, batch_id, database_now(connection))
        before = partial(statements.record_item_batch, connection, batch_id, stated)
        upsert(connection, items, _COLUMNS, lines, ITEM_CHANGES, before)

    reference = ReferenceFile(installation, tables, "items", batch, columns.ITEM_ID, shape, store)
    return ingest_reference(reference, path)


def restore_items(
    connection: Connection,
    rows: Iterable[statements.StatedRow],
    stated: pa.Table,
    batch_id: str,
    at: datetime,
) -> None:
    """Store rows of a table again that a batch stated at the time `at`."""

    def values(row: statements.StatedRow) -> tuple[object, ...]:
        own = {columns.ITEM_ID: row.key, columns.BATCH_ID: batch_id, "field_timestamps": json.dumps(row.times)}
        own[columns.ATTRIBUTES] = json.dumps(row.values[columns.ATTRIBUTES])
        return tuple(own.get(name, row.values.get(name)) for name in _COLUMNS)

    before = partial(statements.record_items, connection, stated, at)
    upsert(connection, items, _COLUMNS, map(values, rows), ITEM_CHANGES, before)


def _lines(rows: pa.Table, part: ItemsMapping, batch_id: str, now: datetime) -> Iterator[tuple[object, ...]]:
    """Return the rows to store. They count as of now, and replace the columns that the mapping reads, also by nulls."""
    read = [
        name for name in (columns.CATEGORY, columns.BRAND, columns.PRICE) if getattr(part, name) or name in part.fill
    ]
    read += [columns.AVAILABLE] if part.not_merchandise else []
    read += [columns.IN_STOCK] if part.available else []
    read += [name for name in _OFFER if name in part.constants or getattr(part, name, None)]
    attributes = rows.schema.field(columns.ATTRIBUTES).type.names
    keys = [columns.TITLE, *read, *(statements.WITHIN + name for name in attributes)]
    times = json.dumps(statements.moments(dict.fromkeys(keys, now), now))
    documents = map(json.dumps, rows[columns.ATTRIBUTES].to_pylist())
    return zip(*(rows[name].to_pylist() for name in _NAMES), documents, repeat(batch_id), repeat(times))

"""Takes the catalogue in."""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial
from itertools import repeat
from typing import Any, Final

import pyarrow as pa
from prefect import task
from sqlalchemy import Connection

from expectations.limits import highest_quarantined
from infra.database.bulk_copy import upsert
from infra.database.clock import database_now
from infra.database.schema.schema import items
from infra.installation import current
from models import columns
from models.ingest.normalisation import Cleaned
from models.ingest.tabular import transform
from models.ingest.tabular.config import ItemsMapping
from tasks.ingest.batch_identity import batch_of, part_of, request_of, table_mapping
from tasks.ingest.entity_updates import item_history
from tasks.ingest.entity_updates.apply import ITEM_CHANGES
from tasks.ingest.entity_updates.last_write_wins import WITHIN, moments
from tasks.ingest.events.tabular_parts import checked
from tasks.ingest.reference.reference_file import Reference, ingest_reference
from tasks.orchestration import run_names
from tasks.orchestration.defects import without_values
from tasks.sources import locations

_OFFER: Final = (
    *(columns.URL, columns.IMAGE, columns.IN_STOCK, columns.AVAILABLE_FROM, columns.AVAILABLE_UNTIL),
    columns.CURRENCY,
)
_NAMES: Final = (
    *(columns.ITEM_ID, columns.TITLE, columns.CATEGORY, columns.BRAND, columns.PRICE, columns.AVAILABLE),
    *_OFFER,
)
_COLUMNS: Final = (*_NAMES, columns.ATTRIBUTES, columns.BATCH_ID, "field_timestamps")
_MENTIONED: Final = (columns.CATEGORY, columns.BRAND, columns.PRICE)


@task(task_run_name=run_names.of_file("ingest items"), description="The catalogue of one file, into Postgres.")
@without_values
def ingest_items(mapping: str, file: str, overrides: dict[str, str] | None = None) -> dict[str, Any]:
    """Ingest one file of a mapping's items; returns the batch's line in the ledger. Raises BatchRefusedError."""
    installation, known = current(), table_mapping(mapping, overrides)
    part = part_of(known, "items")
    with locations.fetched(file, installation.settings.var) as path:
        checked(path, file, part, highest_quarantined("items", known.limits))
        batch = batch_of(known, "items", path, file, request_of(mapping, overrides))

        def shape(rows: pa.Table) -> Cleaned:
            return transform.items(rows, part, known.spelling)

        def store(connection: Connection, rows: pa.Table, stated: pa.Table, batch_id: str) -> None:
            lines = _lines(rows, part, batch_id, database_now(connection))
            before = partial(item_history.keep_batch, connection, batch_id, stated)
            upsert(connection, items, _COLUMNS, lines, ITEM_CHANGES, before)

        reference = Reference(installation, known, "items", batch, columns.ITEM_ID, shape, store)
        return ingest_reference(reference, path)


def restore_items(
    connection: Connection,
    rows: Iterable[tuple[str, dict[str, Any], dict[str, str]]],
    stated: pa.Table,
    batch_id: str,
    at: datetime,
) -> None:
    """Store rows of a table again that a batch stated `at` a time: of each item its key, values and their times."""

    def line(key: str, said: dict[str, Any], times: dict[str, str]) -> tuple[Any, ...]:
        beside = {columns.ITEM_ID: key, columns.BATCH_ID: batch_id, "field_timestamps": json.dumps(times)}
        beside[columns.ATTRIBUTES] = json.dumps(said[columns.ATTRIBUTES])
        return tuple(beside.get(name, said.get(name)) for name in _COLUMNS)

    lines = (line(*row) for row in rows)
    upsert(connection, items, _COLUMNS, lines, ITEM_CHANGES, partial(item_history.keep, connection, stated, at))


def _lines(rows: pa.Table, part: ItemsMapping, batch_id: str, now: datetime) -> Iterator[tuple[Any, ...]]:
    """A catalogue has no times: it is said now. It replaces what its mapping reads, also by nothing, and no more."""
    named = [name for name in _MENTIONED if getattr(part, name) or name in part.fill]
    named += [columns.AVAILABLE] if part.not_merchandise else []
    named += [columns.IN_STOCK] if part.available else []
    named += [name for name in _OFFER if name in part.constants or getattr(part, name, None)]
    attributes = rows.schema.field(columns.ATTRIBUTES).type.names
    keys = [columns.TITLE, *named, *(WITHIN + name for name in attributes)]
    said_at = json.dumps(moments(dict.fromkeys(keys, now), now))
    documents = map(json.dumps, rows[columns.ATTRIBUTES].to_pylist())
    return zip(*(rows[name].to_pylist() for name in _NAMES), documents, repeat(batch_id), repeat(said_at))

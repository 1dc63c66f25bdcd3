"""Takes the catalogue in."""

import json
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa
from prefect import task
from sqlalchemy import Connection

from infra.bulk import upsert
from infra.installation import current
from infra.schema import items
from models import columns
from models.shapes import tabular
from models.shapes.cleaning import Cleaned
from tasks.batches import batch_of, part_of, request_of, tables
from tasks.ingest_events import checked
from tasks.ingest_reference import Reference, ingest_reference
from tasks.sources import places

_NAMES: Final = (*(columns.ITEM_ID, columns.TITLE, columns.CATEGORY, columns.BRAND, columns.PRICE, columns.AVAILABLE),)


@task(description="The catalogue of one file, into Postgres.")
def ingest_items(mapping: str, file: str, overrides: dict[str, str] | None = None) -> dict[str, Any]:
    """Ingest one file of a mapping's items; returns the batch's line in the ledger. Raises BatchRefusedError."""
    here, known = current(), tables(mapping, overrides)
    part = part_of(known, "items")
    with places.fetched(file, here.settings.var) as path:
        checked(path, file, part)
        batch = batch_of(known, "items", path, file, request_of(mapping, overrides))

        def shape(rows: pa.Table) -> Cleaned:
            return tabular.items(rows, part, known.spelling)

        def store(connection: Connection, rows: pa.Table) -> None:
            values = (rows[name].to_pylist() for name in _NAMES)
            attributes = map(json.dumps, rows[columns.ATTRIBUTES].to_pylist())
            origin = [batch.batch_id] * len(rows), [datetime.now(UTC)] * len(rows)
            lines = zip(*values, attributes, *origin, strict=True)
            upsert(connection, items, (*_NAMES, columns.ATTRIBUTES, columns.BATCH_ID, "said_at"), lines)

        reference = Reference(here, known, "items", batch, columns.ITEM_ID, shape, store)
        return ingest_reference(reference, path)

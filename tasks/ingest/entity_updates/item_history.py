"""Records the values that a catalogue changes, from the times that its rows state or from its import."""

from datetime import datetime
from typing import Final

import pyarrow as pa
from sqlalchemy import Connection, text

from infra.database.bulk_copy import copy_table
from models.ingest.tabular.attribute_statements import MOMENT
from tasks.ingest.entity_updates import attribute_history
from tasks.ingest.undo import statements

_STATED: Final = "stated_values"
_NAMES: Final = ["item_id", "name", "value", MOMENT]
_COMING: Final = f"""
    SELECT coming.item_id AS key, value.name, coalesce(CAST(:at AS timestamptz), now()) AS since, value.value
    FROM {{staging}} AS coming CROSS JOIN LATERAL {attribute_history.item_values("coming")}
    WHERE coming.field_timestamps ? value.name"""
_IS_STATED: Final = f"(key, name) IN (SELECT item_id, name FROM {_STATED})"
# A table replaces values: from the import on the value that it chooses counts, whatever its times are.
_DATED: Final = f"""
    SELECT item_id AS key, name, {MOMENT} AS since,
        CASE WHEN name = 'price' THEN value::float::text ELSE value END AS value
    FROM {_STATED} WHERE {MOMENT} < coalesce(CAST(:at AS timestamptz), now())
    UNION ALL SELECT * FROM ({{coming}}) AS coming WHERE {_IS_STATED}"""
_UNDATED: Final = f"""
    SELECT coming.* FROM ({{coming}}) AS coming JOIN items ON items.item_id = coming.key WHERE NOT {_IS_STATED}"""


def record_batch(connection: Connection, batch_id: str, stated: pa.Table, staging: str) -> None:
    """Record the changes of a batch that is ingested, with its rows."""
    record(connection, stated, None, staging)
    statements.record_rows(connection, batch_id, statements.ITEM_TABLE, "item_id", staging)
    statements.record_stated(connection, batch_id, _STATED)


def record(connection: Connection, stated: pa.Table, at: datetime | None, staging: str) -> None:
    """Record the changes that the table `staging` is about to make; `stated` has the dated values of its file.

    They count from the time `at`, or now.
    """
    connection.execute(text(f"DROP TABLE IF EXISTS {_STATED}"))
    shape = f"(item_id text, name text, value text, {MOMENT} timestamptz)"
    connection.execute(text(f"CREATE TEMP TABLE {_STATED} {shape} ON COMMIT DROP"))
    copy_table(connection, _STATED, stated.select(_NAMES))
    connection.execute(text(f"ANALYZE {_STATED}"))
    coming = _COMING.format(staging=staging)
    attribute_history.record(connection, "item", _UNDATED.format(coming=coming), table=True, dated=False, at=at)
    if len(stated):
        attribute_history.record(connection, "item", _DATED.format(coming=coming), table=True, at=at)

"""What the rows of a catalogue state about items since when, if its mapping names the column of the time."""

from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from models import columns
from models.ingest.tabular.config import ItemsMapping
from models.ingest.tabular.duplicate_rows import LATEST, UPDATED_AT, own_values
from models.primitives.arrow_sql import query
from models.primitives.known_attributes import CHANGING

MOMENT: Final = "moment"
_NAME, _VALUE, _ROW = "name", "value", "row"
SCHEMA: Final = pa.schema(
    {
        columns.ITEM_ID: pa.string(),
        _NAME: pa.string(),
        _VALUE: pa.string(),
        MOMENT: pa.timestamp("us", tz="UTC"),
        _ROW: pa.int64(),
    }
)


def dated(part: Any) -> list[str]:
    """Return the columns whose values count since the time of their row.

    A value chosen by all rows, the most frequent or the longest, was stated at no time.
    """
    if not isinstance(part, ItemsMapping) or not part.updated_at:
        return []
    return [name for name in CHANGING if getattr(part, name) and part.choices.get(name, LATEST) in (LATEST, "last")]


def statements(rows: pa.Table, names: Sequence[str], numbers: Any) -> pa.Table:
    """Return what each of the rows, which have these numbers in the file, states in these columns."""
    parts = [SCHEMA.empty_table()]
    for name in names:
        values = own_values(rows, columns.ITEM_ID, name).cast(pa.string())
        named = pa.repeat(pa.scalar(name), len(rows))
        found = [rows[columns.ITEM_ID], named, values, rows[UPDATED_AT], numbers]
        parts.append(pa.table(found, names=SCHEMA.names).cast(SCHEMA))
    return pa.concat_tables(parts)


def changes(stated: pa.Table) -> pa.Table:
    """Return the first and the last of equal statements that follow each other in time, by item and column.

    The last is kept because rows that come later may state another value in between. Of one time the last row counts.
    A year that no calendar has is no time.
    """
    found = query(
        f"""
        WITH moments AS (
            SELECT {columns.ITEM_ID}, name, arg_max(value, row) AS value, {MOMENT}, max(row) AS row
            FROM stated WHERE value IS NOT NULL AND year({MOMENT}) BETWEEN 1 AND 9999 GROUP BY ALL
        ), neighbours AS (
            SELECT *, lag(value) OVER by_time AS earlier, lead(value) OVER by_time AS later FROM moments
            WINDOW by_time AS (PARTITION BY {columns.ITEM_ID}, name ORDER BY {MOMENT})
        )
        SELECT {", ".join(SCHEMA.names)} FROM neighbours
        WHERE value IS DISTINCT FROM earlier OR value IS DISTINCT FROM later
        ORDER BY {columns.ITEM_ID}, name, {MOMENT}""",
        stated=stated,
    )
    return found.cast(SCHEMA)

"""Extract dated statements about items from catalogue rows, if the mapping names the column of the time."""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from models import columns
from models.ingest.tabular.duplicate_rows import DATED, UPDATED_AT, own_values
from models.ingest.tabular.mapping_keys import TableMapping
from models.ingest.tabular.table_mapping import ItemsMapping
from models.primitives.arrow_sql import query
from models.primitives.arrow_types import ArrowColumn

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


def dated(part: TableMapping) -> list[str]:
    """Return the columns whose values count from the time of their row.

    A value chosen from all rows, the most frequent or the longest, has no time.
    """
    if not isinstance(part, ItemsMapping) or not part.updated_at:
        return []
    return [
        name for name in columns.CHANGING if getattr(part, name) and part.choices.get(name, "last") in ("last", *DATED)
    ]


def statements(rows: pa.Table, names: Sequence[str], numbers: ArrowColumn) -> pa.Table:
    """Return the statements of the rows in these columns; `numbers` are the row numbers in the file."""
    parts = [SCHEMA.empty_table()]
    for name in names:
        values = own_values(rows, columns.ITEM_ID, name).cast(pa.string())
        name_column = pa.repeat(pa.scalar(name), len(rows))
        statement = [rows[columns.ITEM_ID], name_column, values, rows[UPDATED_AT], numbers]
        parts.append(pa.table(statement, names=SCHEMA.names).cast(SCHEMA))
    return pa.concat_tables(parts)


def changes(stated: pa.Table) -> pa.Table:
    """Return the first and the last of consecutive equal statements, by item and column.

    The last one stays because later rows may state another value in between. Of several rows with the same time the
    last counts. Times outside the years 1 to 9999 are ignored.
    """
    changed = query(
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
    return changed.cast(SCHEMA)

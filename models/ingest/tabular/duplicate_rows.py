"""Merge several rows of an item by the choices of the mapping, and extract dated statements about items."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from models import columns
from models.columns import UPDATED_AT as UPDATED_AT
from models.primitives.arrow_sql import query
from models.primitives.arrow_types import ArrowColumn, Columns

Choice = Literal["last", "first", "most_frequent", "recent", "latest", "longest", "lowest", "any", "sum", "all"]
"""The value of the last or first row with one, of most rows (of all, or of the item's last four weeks), or of the row
with the latest time; the longest text, the lowest number, true if any row says so, the sum of the numbers, or all
different texts, a line each."""
DATED: Final[tuple[Choice, ...]] = ("recent", "latest")
"""Choices by the time of the rows."""
WEEK: Final = "epoch_us({}) // 604800000000"
"""SQL for the number of the week of a time."""
IMPUTED: Final = "_imputed"
"""The suffix of the attribute that marks values filled with a declared constant."""
COPIES: Final = "copies"
"""The column with the number of equal rows of the file that a row represents; 1 without it."""
FIRST_ROW: Final = "first_row"
"""The column with the first of the equal rows that a row represents; the row itself without it."""
_ROW: Final = "row"
_STATED: Final = MappingProxyType(
    {
        "last": "max(row)",
        "first": "-min(first_row)",
        "most_frequent": "sum(copies)",
        "recent": "sum(copies) FILTER (WHERE week > newest - 4)",
        "latest": "max(epoch_us(moment))",
        "longest": "length(any_value(value))",
        "lowest": "-try_cast(any_value(value) AS DOUBLE)",
        "any": "any_value(value)",
    }
)
"""The score of a value by choice: the highest counts, and of equal ones that of the last row."""
_COMBINED: Final = MappingProxyType(
    {
        "sum": "regexp_replace(sum(try_cast(value AS DOUBLE) * copies)::VARCHAR, '[.]0$', '')",
        "all": "array_to_string(list_sort(list_distinct(flatten(list(split(value::VARCHAR, chr(10)))))), chr(10))",
    }
)
"""The value of all rows together by choice, as text."""


def chosen(rows: pa.Table, key: str, choices: Mapping[str, Choice]) -> pa.Table:
    """Return one row for each `key`: its last row, with the values of `choices` by column or attribute.

    A row without a value counts only if no row has one. With any choice, an item is merchandise if most of its rows
    are.
    """
    numbered = rows.append_column(_ROW, pa.array(range(len(rows)), pa.int64()))
    keys = numbered.select([key, _ROW]).rename_columns(["name", _ROW])
    groups = query("SELECT name, max(row) AS row FROM keys GROUP BY 1 ORDER BY 2", keys=keys)
    last = rows.take(groups[_ROW])
    for name, choice in {**choices, columns.AVAILABLE: "most_frequent"}.items() if choices else ():
        values, mark = _values(numbered, key, groups, name, choice), f"{name}{IMPUTED}"
        if mark in _attributes(last):
            unchanged = pc.is_null(values)
            last = _replaced(last, mark, pc.if_else(unchanged, _attributes(last)[mark], pa.scalar(None, pa.string())))
        last = _replaced(last, name, pc.coalesce(values, _column(last, name)))
    return last


def _values(rows: pa.Table, key: str, groups: pa.Table, name: str, choice: str) -> pa.Array:
    """Return the chosen value of each group; null if no row has one."""
    values = own_values(rows, key, name)
    moments = rows[UPDATED_AT] if UPDATED_AT in rows.column_names else pa.nulls(len(rows), pa.timestamp("us", tz="UTC"))
    if choice in _COMBINED:
        best = f"SELECT name, {_COMBINED[choice]} AS value FROM rows WHERE value IS NOT NULL GROUP BY 1"
    else:
        best = f"""
        SELECT name, value FROM (
            SELECT name, value, {_STATED[choice]} AS most, max(row) AS last FROM (
                SELECT *, {WEEK.format("moment")} AS week, max(week) OVER (PARTITION BY name) AS newest
                FROM rows WHERE value IS NOT NULL
            ) GROUP BY 1, 2
        ) QUALIFY row_number() OVER (PARTITION BY name ORDER BY most DESC NULLS LAST, last DESC) = 1"""
    statement = f"SELECT best.value FROM groups LEFT JOIN ({best}) AS best USING (name) ORDER BY groups.row"
    copies = rows[COPIES] if COPIES in rows.column_names else pa.repeat(1, len(rows))
    first = rows[FIRST_ROW] if FIRST_ROW in rows.column_names else rows[_ROW]
    stated = {"name": rows[key], _ROW: rows[_ROW], FIRST_ROW: first, "value": values, "moment": moments, COPIES: copies}
    return query(statement, rows=pa.table(stated), groups=groups)["value"].combine_chunks().cast(values.type)


def own_values(rows: pa.Table, key: str, name: str) -> ArrowColumn:
    """Return the values of a column or attribute that come from the source; null for filled values."""
    values, mark = _column(rows, name), f"{name}{IMPUTED}"
    null = pa.scalar(None, values.type)
    if name == columns.TITLE:  # an item without a title shows its id, which is no title
        values = pc.if_else(pc.equal(values, pc.binary_join_element_wise("Item", rows[key], " ")), null, values)
    if mark in (attributes := _attributes(rows)):  # filled with a constant
        values = pc.if_else(pc.is_valid(attributes[mark]), null, values)
    return values


def _attributes(rows: pa.Table) -> Columns:
    values = rows[columns.ATTRIBUTES].combine_chunks()
    return dict(zip(values.type.names, values.flatten(), strict=True))


def _column(rows: pa.Table, name: str) -> ArrowColumn:
    return rows[name].combine_chunks() if name in rows.column_names else _attributes(rows)[name]


def _replaced(rows: pa.Table, name: str, values: ArrowColumn) -> pa.Table:
    """Return the rows with these values in a column or an attribute."""
    if name in rows.column_names:
        return rows.set_column(rows.column_names.index(name), name, values)
    attributes = _attributes(rows) | {name: values}
    return _replaced(rows, columns.ATTRIBUTES, pa.StructArray.from_arrays(list(attributes.values()), list(attributes)))


MOMENT: Final = "moment"
SCHEMA: Final = pa.schema(
    {
        columns.ITEM_ID: pa.string(),
        "name": pa.string(),
        "value": pa.string(),
        MOMENT: pa.timestamp("us", tz="UTC"),
        _ROW: pa.int64(),
    }
)


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

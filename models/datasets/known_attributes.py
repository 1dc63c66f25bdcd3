"""Return catalogue values and traits as they were known at a moment."""

from typing import Final

import pyarrow as pa

from models.primitives.arrow_sql import literal, query, quoted

NAME: Final = "name"
SINCE: Final = "since"
VALUE: Final = "value"
BEGINNING: Final = -(2**62)
"""The time since which the first known value counts."""
# `empty_table` would import pandas.
NO_HISTORY: Final = pa.Table.from_batches([], pa.schema({NAME: pa.string(), SINCE: pa.int64(), VALUE: pa.string()}))


def as_known(rows: pa.Table, key: str, history: pa.Table, cut: int) -> pa.Table:
    """Return the rows (one per `key`, one column per name) with the values that were known before `cut` (epoch s).

    `history` has `key`, `name`, `since` (epoch s) and `value`. A name of a key without history has the
    value of `rows`: it has never changed. A name whose history begins later was not known yet, and one whose latest
    value is an empty text is no longer known.
    """
    names = [name for name in rows.column_names if name != key]
    changed = set(history[NAME].unique().to_pylist()) & set(names) if history.num_rows else set()
    if not changed:
        return rows
    values = ", ".join(
        f"CASE WHEN names IS NOT NULL AND list_contains(names, {literal(name)}) "
        f"THEN try_cast(nullif(latest_values[{literal(name)}], '') AS {_kind(rows.schema.field(name).type)}) "
        f"ELSE current_rows.{quoted(name)} END AS {quoted(name)}"
        if name in changed
        else f"current_rows.{quoted(name)}"
        for name in names
    )
    statement = f"""
        WITH latest AS (
            SELECT {key}, name, arg_max(value, since) FILTER (WHERE since < {cut}) AS value FROM history GROUP BY ALL
        ), by_key AS (
            SELECT {key}, list(name) AS names, map(list(name), list(value)) AS latest_values FROM latest GROUP BY {key}
        )
        SELECT current_rows.{key}, {values} FROM current_rows LEFT JOIN by_key USING ({key}) ORDER BY {key}"""
    return query(statement, current_rows=rows, history=history).select(rows.column_names).cast(rows.schema)


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "BOOLEAN"
    return "DOUBLE" if pa.types.is_floating(kind) else "VARCHAR"

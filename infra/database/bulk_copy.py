"""Loads and reads rows in bulk with COPY; other statements are too slow."""

import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
from sqlalchemy import Connection, Select, Table, TextClause, text

from infra.database.engine import values_hidden

_LONGEST_ROW = 64 * 2**20
"""Bytes; Arrow cannot read a row that is longer than a block."""
_CSV_VALUES = {"null_values": [""], "true_values": ["t"], "false_values": ["f"]}
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
_ESCAPED = re.compile(r"[\\\t\n\r]")


def array(texts: pa.Array) -> str:
    """Write texts, none of them null, as an array literal of PostgreSQL."""
    escaped = pc.replace_substring(pc.replace_substring(texts, "\\", r"\\"), '"', r"\"")
    whole = pa.ListArray.from_arrays(pa.array([0, len(escaped)], pa.int32()), escaped)
    joined = pc.binary_join(whole, '","')[0].as_py()
    return f'{{"{joined}"}}' if len(texts) else "{}"


def _field(value: Any) -> str:
    if value is None:
        return r"\N"
    written = str(value)
    # Few values need escapes, and to search for one takes half the time of `translate`.
    return written.translate(_ESCAPES) if _ESCAPED.search(written) else written


def copy(connection: Connection, target: str, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
    """Load `rows` into `target` in the connection's transaction; return their number."""
    lines = ["\t".join(map(_field, row)) + "\n" for row in rows]
    _copy(connection, f"COPY {target} ({', '.join(names)}) FROM STDIN", io.StringIO("".join(lines)))
    return len(lines)


def copy_table(connection: Connection, target: str, rows: pa.Table) -> None:
    """Load a table of texts, numbers and booleans: Arrow writes them many times faster than Python."""
    # Arrow writes zeros for a batch without rows.
    filled = pa.Table.from_batches([batch for batch in rows.to_batches() if batch.num_rows], rows.schema)
    written = io.BytesIO()
    csv.write_csv(filled, written, csv.WriteOptions(include_header=False))
    written.seek(0)
    _copy(connection, f"COPY {target} ({', '.join(rows.column_names)}) FROM STDIN (FORMAT csv)", written)


def read_table(
    connection: Connection, statement: Select[Any] | TextClause, kinds: Mapping[str, pa.DataType]
) -> pa.Table:
    """Return the result of a query as columns of texts, numbers, booleans and times, without Python objects."""
    compiled = statement.compile(connection, compile_kwargs={"render_postcompile": True})
    cursor: Any = connection.connection.cursor()
    query = cursor.mogrify(str(compiled), compiled.params).decode()
    written = io.BytesIO()
    with values_hidden():
        cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT csv, FORCE_QUOTE *)", written)
    if not written.tell():
        return pa.schema(kinds).empty_table()
    written.seek(0)
    return csv.read_csv(
        written,
        csv.ReadOptions(column_names=[*kinds], block_size=_LONGEST_ROW),
        csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        csv.ConvertOptions(
            column_types=kinds, quoted_strings_can_be_null=False, strings_can_be_null=True, **_CSV_VALUES
        ),
    )


def _copy(connection: Connection, statement: str, rows: Any) -> None:
    cursor: Any = connection.connection.cursor()
    with values_hidden():
        cursor.copy_expert(statement, rows)


def upsert(
    connection: Connection,
    table: Table,
    names: Sequence[str],
    rows: Iterable[Sequence[Any]],
    changes: Mapping[str, str] = MappingProxyType({}),
    before: Callable[[str], None] = lambda _staging: None,
) -> int:
    """Insert rows whose key is the first of `names`, or update the other columns of existing rows.

    `changes` gives the SQL of another new value for a column, from `excluded.…` and the stored value. `before` is
    called with the name of the temporary table that holds the rows, right before they are inserted.
    """
    key, *others = names
    staging = _staging(connection, table)
    count = copy(connection, staging, names, rows)
    before(staging)
    changed = ", ".join(f"{name} = {changes.get(name, f'excluded.{name}')}" for name in others)
    _take_over(connection, table, staging, names, f"({key}) DO UPDATE SET {changed}")
    return count


def insert_new(connection: Connection, table: Table, rows: pa.Table) -> None:
    """Insert rows whose key, the first column, is new; existing rows stay as they are."""
    staging = _staging(connection, table)
    copy_table(connection, staging, rows)
    _take_over(connection, table, staging, rows.column_names, "DO NOTHING")


def _staging(connection: Connection, table: Table) -> str:
    name = f"incoming_{table.fullname.replace('.', '_')}"
    connection.execute(text(f"DROP TABLE IF EXISTS {name}"))
    connection.execute(text(f"CREATE TEMP TABLE {name} (LIKE {table.fullname} INCLUDING DEFAULTS) ON COMMIT DROP"))
    return name


def _take_over(connection: Connection, table: Table, staging: str, names: Sequence[str], on_conflict: str) -> None:
    key, columns = names[0], ", ".join(names)
    # In order of the key, so that two processes with the same rows cannot block each other.
    connection.execute(
        text(
            f"INSERT INTO {table.fullname} ({columns}) SELECT DISTINCT ON ({key}) {columns} FROM {staging} "
            f"ORDER BY {key} ON CONFLICT {on_conflict}"
        )
    )

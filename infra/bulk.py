"""Bulk loading with COPY, the only way in that is fast enough."""

import io
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Table, text

_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def array(values: Iterable[Any]) -> str:
    """A one-dimensional array as PostgreSQL reads it; None becomes NULL."""
    return "{" + ",".join(_element(value) for value in values) + "}"


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)


def _field(value: Any) -> str:
    return r"\N" if value is None else str(value).translate(_ESCAPES)


def copy(connection: Connection, target: str, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
    """Load `rows` into `target`, in the connection's transaction; returns their number."""
    lines = ["\t".join(map(_field, row)) + "\n" for row in rows]
    cursor: Any = connection.connection.cursor()
    cursor.copy_expert(f"COPY {target} ({', '.join(names)}) FROM STDIN", io.StringIO("".join(lines)))
    return len(lines)


def upsert(
    connection: Connection,
    table: Table,
    names: Sequence[str],
    rows: Iterable[Sequence[Any]],
    kept: Sequence[str] = (),
) -> int:
    """Load rows whose key is the first of `names`; a row that is there already is replaced, but for `kept`."""
    key, *others = names
    staging = f"incoming_{table.name}"
    columns = ", ".join(names)
    changes = ", ".join(f"{name} = excluded.{name}" for name in others if name not in kept)
    connection.execute(text(f"CREATE TEMP TABLE {staging} (LIKE {table.name}) ON COMMIT DROP"))
    count = copy(connection, staging, names, rows)
    connection.execute(
        text(
            f"INSERT INTO {table.name} ({columns}) SELECT DISTINCT ON ({key}) {columns} FROM {staging} "
            f"ON CONFLICT ({key}) DO UPDATE SET {changes}"
        )
    )
    return count

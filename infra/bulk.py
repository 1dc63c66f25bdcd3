"""Bulk loading with COPY, the only way in that is fast enough."""

import io
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Table, text
from sqlalchemy.dialects.postgresql import JSONB

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
    *,
    merge: bool = False,
) -> int:
    """Load rows whose key is the first of `names`; a row that is there already is replaced, but for `kept`.

    To `merge`: a null leaves what is there, and JSON is added to it.
    """
    key, *others = names
    changed = _merged if merge else _replaced
    changes = ", ".join(f"{name} = {changed(table, name)}" for name in others if name not in kept)
    return _insert(connection, table, names, rows, f"({key}) DO UPDATE SET {changes}")


def insert_new(connection: Connection, table: Table, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
    """Load rows that are not there yet; a row that is there already stays as it is."""
    return _insert(connection, table, names, rows, "DO NOTHING")


def _insert(
    connection: Connection, table: Table, names: Sequence[str], rows: Iterable[Sequence[Any]], on_conflict: str
) -> int:
    key, columns = names[0], ", ".join(names)
    staging = f"incoming_{table.fullname.replace('.', '_')}"
    connection.execute(text(f"DROP TABLE IF EXISTS {staging}"))
    connection.execute(text(f"CREATE TEMP TABLE {staging} (LIKE {table.fullname} INCLUDING DEFAULTS) ON COMMIT DROP"))
    count = copy(connection, staging, names, rows)
    # In order of the key: two processes that bring the same rows then wait for each other in turn, never both at once.
    connection.execute(
        text(
            f"INSERT INTO {table.fullname} ({columns}) SELECT DISTINCT ON ({key}) {columns} FROM {staging} "
            f"ORDER BY {key} ON CONFLICT {on_conflict}"
        )
    )
    return count


def _replaced(_table: Table, name: str) -> str:
    return f"excluded.{name}"


def _merged(table: Table, name: str) -> str:
    if isinstance(table.c[name].type, JSONB):
        return f"{table.name}.{name} || excluded.{name}"
    return f"coalesce(excluded.{name}, {table.name}.{name})"

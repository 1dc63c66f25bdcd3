"""Opens a table or query of a database: which of its columns a mapping reads, and the statements that read them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, FromClause, Select, column, func, inspect, select, table, text
from sqlalchemy.sql import quoted_name
from sqlalchemy.types import NULLTYPE, TypeEngine

from models.ingest.tabular.sql_cursor import CursorPosition, SqlKeys
from models.ingest.tabular.transform import Part
from tasks.sources.sql.source_database import SourceDatabase, SourceDatabaseError

_SHOWN: Final = 30
"""Columns that a message lists at most."""


@dataclass(frozen=True)
class Relation:
    """A table or query with the columns that are read from it."""

    name: str
    """The table, or the part of the mapping whose query it is."""
    source: FromClause
    all_columns: tuple[str, ...]
    """All its columns, as the database names them."""
    columns: tuple[str, ...]
    """The columns that the mapping names and that it has or that its `unnest` may bring."""
    found: dict[str, str]
    """The name in the database of each column that is read."""
    cursor: str | None
    unnest: str | None
    order: tuple[str, ...]
    """Columns that order the rows if there is no cursor."""
    types: dict[str, TypeEngine[Any]]
    folds_names: bool = False
    """Whether the dialect reports names in another case, as for Snowflake and Oracle. Quoted, they would be others; in
    all other databases quotes protect reserved words."""

    def _column(self, name: str) -> ColumnElement[Any]:
        own = self.found[name]
        return column(own if self.folds_names else quoted_name(own, quote=True), self.types.get(own, NULLTYPE))

    def _where(self, start: CursorPosition | None, inclusive: bool, statement: Select[Any]) -> Select[Any]:
        if self.cursor is None:
            return statement
        value = self._column(self.cursor)
        if start is None:
            return statement.where(value.is_not(None))
        if inclusive:
            return statement.where(value >= start.value)
        later = start.next_moment
        return statement.where(value > start.value if later is None else value >= later)

    @property
    def read(self) -> tuple[str, ...]:
        """Return the columns of `rows`: those of the mapping that exist, the one to unnest, and the cursor."""
        own = [name for name in self.columns if name in self.found]
        return tuple(dict.fromkeys([*own, *filter(None, (self.unnest, self.cursor))]))

    def _selected(self) -> Select[Any]:
        columns = (self._column(name).label(f"tailorbird_{place}") for place, name in enumerate(self.read))
        return select(*columns).select_from(self.source)

    def rows(self, start: CursorPosition | None, *, inclusive: bool = True) -> Select[Any]:
        """Return the statement for the rows from a position on, in the order of the cursor."""
        order = (self.cursor,) if self.cursor else self.order
        return self._ordered(self._where(start, inclusive, self._selected()), order)

    def rows_without_cursor(self) -> Select[Any]:
        """Return the statement for the rows whose cursor is null."""
        return self._ordered(self._selected().where(self._column(self.cursor or "").is_(None)), self.order)

    def _ordered(self, statement: Select[Any], order: Sequence[str]) -> Select[Any]:
        return statement.order_by(*(self._column(name) for name in order if name in self.found))

    def highest(self) -> Select[Any]:
        """Return the statement for the highest value of the cursor."""
        return select(func.max(self._column(self.cursor or ""))).select_from(self.source)

    def count(self, start: CursorPosition | None) -> Select[Any]:
        """Return the statement for the number of rows from a position on."""
        return self._where(start, True, select(func.count()).select_from(self.source))

    def count_without_cursor(self) -> Select[Any]:
        """Return the statement for the number of rows whose cursor is null."""
        return select(func.count()).select_from(self.source).where(self._column(self.cursor or "").is_(None))


def exists(database: SourceDatabase, connection: Connection, name: str) -> bool:
    """Return whether the database has a table or view of that name."""
    schema, _, own = name.rpartition(".")
    with database.explained(name):
        return inspect(connection).has_table(own, schema=schema or None)


def open_relation(database: SourceDatabase, connection: Connection, name: str, keys: SqlKeys, part: Part) -> Relation:
    """Return the table `name`, or the query of the keys. Raises SourceDatabaseError if it lacks a column of the part.

    Without a cursor, rows are ordered by the columns that every row of the part needs.
    """
    if keys.query:
        # A colon in it is no parameter. The line after it ends a comment.
        statement = keys.query.strip().rstrip(";").replace(":", "\\:") + "\n"
        source: FromClause = text(statement).columns().subquery("source_rows")
    else:
        schema, _, table_name = name.rpartition(".")
        source = table(table_name, schema=schema or None)
    with database.explained(name):
        present = tuple(connection.execute(select(text("*")).select_from(source).limit(0)).keys())
    connection.rollback()
    read = (*part.read, *filter(None, (keys.cursor, keys.unnest)))
    found = {one: own for one in read if (own := _own(one, present))}
    unnest = keys.unnest if keys.unnest in found else None
    if keys.cursor and keys.cursor not in found:
        raise SourceDatabaseError(
            f"{name} has no column {keys.cursor!r} for the cursor. {_advice(keys.cursor, present)}"
        )
    missing = [column for column in part.read if column not in found and column not in part.optional]
    if missing and not unnest:
        listed = ", ".join(map(repr, missing))
        raise SourceDatabaseError(
            f"{name} has no column {listed}, which the mapping reads. {_advice(missing[0], present)} Correct the "
            "mapping, or add a column to `optional` if it may be missing. Nothing was stored, and no row is skipped."
        )
    kept = tuple(column for column in part.read if column in found or unnest)
    order = tuple(part.direct_columns(part.needed))
    types = _types(connection, name) if not keys.query else {}
    folds = connection.dialect.requires_name_normalize
    return Relation(name, source, present, kept, found, keys.cursor, unnest, order, types, folds)


def _own(name: str, present: Collection[str]) -> str | None:
    """Return the database's name of a column: the same, or the only one that differs in case."""
    if name in present:
        return name
    alike = [own for own in present if own.lower() == name.lower()]
    return alike[0] if len(alike) == 1 else None


def _advice(name: str, present: Sequence[str]) -> str:
    near = get_close_matches(name, present, n=1)
    listed = ", ".join(present[:_SHOWN]) + (f" and {len(present) - _SHOWN} more" if len(present) > _SHOWN else "")
    return f"{f'Is it {near[0]!r}? ' if near else ''}Its columns: {listed}."


def _types(connection: Connection, name: str) -> dict[str, TypeEngine[Any]]:
    """Return the types of a table's columns in SQLite, which stores times as text."""
    if connection.dialect.name != "sqlite":
        return {}
    return {one["name"]: one["type"] for one in inspect(connection).get_columns(name)}

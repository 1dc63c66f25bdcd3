"""Plans the SQL of feature tables once for all moments: on few rows, planning takes most of the time of a table."""

import re
from collections.abc import Callable
from functools import cache
from typing import Final, NamedTuple, Self

import duckdb
import narwhals as nw

from models.features.expressions import Frame
from models.primitives.time import DAY

Columns = tuple[tuple[str, str], ...]
"""The names and types of the columns of a table."""
_MOMENT: Final = 2_000_000_000
"""The moment of a plan, in 2033."""
_NEAR: Final = 1_000 * DAY
"""Numbers of a plan that are as near to its moment are computed from it. Features look back for a year at most."""
_NUMBER: Final = re.compile(r"(?<![\w.])\d{10}(?!\w)")


class Queries(NamedTuple):
    """The SQL of a table, and of the frames that it reads more than once."""

    stored: tuple[tuple[str, str], ...]
    """The names and queries of these frames; later ones read earlier ones."""
    table: str

    def at(self, moment: int) -> Self:
        """Return the queries of a plan for another moment (epoch s)."""

        def moved(text: str) -> str:
            return _NUMBER.sub(lambda found: _moved(found[0], moment), text)

        stored = tuple((moved(name), moved(query)) for name, query in self.stored)
        return self._replace(stored=stored, table=moved(self.table))


def catalogue_at(moment: int) -> str:
    """Return the name of the stored catalogue as known at a moment."""
    return f"catalogue {moment}"


def columns_of(frame: Frame) -> Columns:
    """Return the columns of a frame of DuckDB."""
    relation: duckdb.DuckDBPyRelation = frame.to_native()
    return tuple(zip(relation.columns, map(str, relation.types), strict=True))


@cache
def plan(build: Callable[..., Frame], events: Columns, items: Columns, *, dated: bool) -> Queries:
    """Return the queries of a feature table for the columns of `events` and `items`; `at` gives those for a moment.

    `dated` states that the catalogue depends on the moment, so it is stored as `catalogue_at` names it.
    """
    catalogue = f'cached."{catalogue_at(_MOMENT)}"' if dated else "item_attributes"
    stored: dict[str, str] = {}
    with duckdb.connect() as connection:
        connection.execute("ATTACH ':memory:' AS cached")
        for name, columns in (("events", events), (catalogue, items)):
            fields = ", ".join(f'"{column}" {kind}' for column, kind in columns)
            connection.execute(f"CREATE TABLE {name} ({fields})")

        def store(frame: Callable[[], Frame], name: str) -> Frame:
            if name not in stored:
                query = frame().to_native().sql_query()
                connection.execute(f'CREATE TABLE cached."{name}" AS {query}')
                stored[name] = query
            return nw.from_native(connection.table(f'cached."{name}"'))

        rows, goods = (nw.from_native(connection.table(name)) for name in ("events", catalogue))
        table = build(rows, goods, _MOMENT, store).to_native().sql_query()
    return Queries(tuple(stored.items()), table)


def _moved(number: str, moment: int) -> str:
    distance = int(number) - _MOMENT
    return str(moment + distance) if abs(distance) <= _NEAR else number

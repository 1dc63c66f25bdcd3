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
TEMPORARY: Final = "temp"
"""The schema of temporary tables."""
MOMENT: Final = 2_000_000_000
"""The moment for which SQL is written (epoch s), in 2033."""
_NEAR: Final = 1_000 * DAY
"""Numbers as near to it are computed from it. Features look back for a year at most."""
_NUMBER: Final = re.compile(r"(?<![\w.])\d{10}(?!\w)")


def moved(text: str, moment: int) -> str:
    """Return SQL, or a name in it, that was written for `MOMENT` as it is for another moment (epoch s)."""

    def number(found: re.Match[str]) -> str:
        distance = int(found[0]) - MOMENT
        return str(moment + distance) if abs(distance) <= _NEAR else found[0]

    return _NUMBER.sub(number, text)


class Queries(NamedTuple):
    """The SQL of a table, and of the frames that it reads more than once."""

    stored: tuple[tuple[str, str], ...]
    """The names and queries of these frames; later ones read earlier ones."""
    table: str

    def at(self, moment: int) -> Self:
        """Return the queries of a plan for a moment (epoch s)."""
        stored = tuple((moved(name, moment), moved(query, moment)) for name, query in self.stored)
        return self._replace(stored=stored, table=moved(self.table, moment))


def columns_of(frame: Frame) -> Columns:
    """Return the columns of a frame of DuckDB."""
    relation: duckdb.DuckDBPyRelation = frame.to_native()
    return tuple(zip(relation.columns, map(str, relation.types), strict=True))


@cache
def plan(build: Callable[..., Frame], events: Columns, items: Columns, catalogue: str, schema: str) -> Queries:
    """Return the queries of a feature table for the columns of `events` and `items`; `at` gives those for a moment.

    They read the items from the table `catalogue`, and the frames that they read more than once from `schema`.
    """
    stored: dict[str, str] = {}
    with duckdb.connect() as connection:
        if schema != TEMPORARY:
            connection.execute(f"ATTACH ':memory:' AS {schema}")
        for name, columns in (("events", events), (catalogue, items)):
            fields = ", ".join(f'"{column}" {kind}' for column, kind in columns)
            connection.execute(f"CREATE TABLE {name} ({fields})")

        def store(frame: Callable[[], Frame], name: str) -> Frame:
            if name not in stored:
                query = frame().to_native().sql_query()
                connection.execute(f'CREATE {"TEMP " * (schema == TEMPORARY)}TABLE {schema}."{name}" AS {query}')
                stored[name] = query
            return nw.from_native(connection.table(f'{schema}."{name}"'))

        rows, goods = (nw.from_native(connection.table(name)) for name in ("events", catalogue))
        table = build(rows, goods, MOMENT, store).to_native().sql_query()
    return Queries(tuple(stored.items()), table)

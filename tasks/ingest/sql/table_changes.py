"""Compares the columns of a table with those of the run before, because databases change without notice."""

from collections.abc import Iterator, Mapping

import pyarrow as pa

from tasks.sources.sql.arrow_columns import kind_name
from tasks.sources.sql.relation import Relation


def columns_of(relation: Relation, types: Mapping[str, pa.DataType], before: Mapping[str, str]) -> dict[str, str]:
    """Return all columns with the kinds of those that were read; a column without values keeps its earlier kind."""
    kinds = {relation.found.get(name, name): kind_name(kind) for name, kind in types.items()}
    return {name: kinds.get(name) or before.get(name, "") for name in relation.all_columns}


def changes(name: str, before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each kind of change since the run before."""
    if not before:
        return
    if new := [column for column in now if column not in before]:
        yield f"{name} has new columns, which the mapping does not read unless it names them: {', '.join(new)}"
    if gone := [column for column in before if column not in now]:
        yield f"{name} has lost columns: {', '.join(gone)}"
    for column, kind in now.items():
        if kind and before.get(column) and before[column] != kind:
            yield (
                f"{name}: the column {column} held the kind {before[column]!r} and now holds {kind!r}; values that "
                "cannot be read wait in quarantine"
            )

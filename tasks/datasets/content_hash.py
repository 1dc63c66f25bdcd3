"""A digest of a table's content, the same whatever the order of its rows and of the sums that made them."""

import hashlib
import json
from collections.abc import Sequence
from typing import Final

import duckdb

ENGINE: Final = f"duckdb {duckdb.__version__}"
"""Whose hash function it is: another version may have another one, so digests are compared within one version only."""
_FLOATS: Final = ("FLOAT", "DOUBLE")


def content_hash(connection: duckdb.DuckDBPyConnection, rows: str, keys: Sequence[str] = ()) -> str:
    """The digest of `rows`, which is SQL for a table.

    Without `keys` every value counts exactly. With them, numbers with fractions are worked out from others, in an
    order that changes from run to run: of those a sum weighted by the key counts, to seven digits.
    """
    kinds = {row[0]: row[1] for row in connection.execute(f"DESCRIBE SELECT * FROM {rows}").fetchall()}
    summed = [_quoted(name) for name, kind in kinds.items() if keys and kind in _FLOATS]
    exact = [
        f"round({_quoted(name)}, 6)" if kind in _FLOATS else _quoted(name)
        for name, kind in kinds.items()
        if _quoted(name) not in summed
    ]
    named = [_quoted(key) for key in keys if key in kinds]  # an empty table may have lost its columns
    weight = f"1 + hash({', '.join(named) or '0'}) / 2.0::DOUBLE ** 64"
    sums = "".join(f", sum(coalesce({name}::DOUBLE, -1) * weight)" for name in summed)
    count, total, *numbers = connection.execute(
        f"""
        SELECT count(*), sum(hash({", ".join(exact)})::HUGEINT){sums} FROM (SELECT *, {weight} AS weight FROM {rows})
        """
    ).fetchall()[0]
    if not count:
        return hashlib.sha256(b"").hexdigest()
    said = [str(count), str(total), *(f"{value:.6e}" for value in numbers)]
    return hashlib.sha256(json.dumps([list(kinds), *said]).encode()).hexdigest()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

"""Digests the content of a table, independent of the order of its rows and of floating-point sums."""

import hashlib
import json
from collections.abc import Sequence
from typing import Final

import duckdb

ENGINE: Final = f"duckdb {duckdb.__version__}"
"""The version of the hash function. Digests are comparable within one version only."""
_FLOATS: Final = ("FLOAT", "DOUBLE")


def content_hash(connection: duckdb.DuckDBPyConnection, rows: str, keys: Sequence[str] = ()) -> str:
    """Return the digest of `rows`, which is SQL of a table.

    Without `keys` every value counts exactly. With keys, floats are computed in an order that changes from run to run,
    so their sums weighted by the key count, to seven digits.
    """
    kinds = {row[0]: row[1] for row in connection.execute(f"DESCRIBE SELECT * FROM {rows}").fetchall()}
    summed = [_quoted(name) for name, kind in kinds.items() if keys and kind in _FLOATS]
    exact = [
        f"round({_quoted(name)}, 6)" if kind in _FLOATS else _quoted(name)
        for name, kind in kinds.items()
        if _quoted(name) not in summed
    ]
    key_columns = [_quoted(key) for key in keys if key in kinds]  # an empty table may have lost its columns
    weight = f"1 + hash({', '.join(key_columns) or '0'}) / 2.0::DOUBLE ** 64"
    sums = "".join(f", sum(coalesce({name}::DOUBLE, -1) * weight)" for name in summed)
    count, total, *numbers = connection.execute(
        f"""
        SELECT count(*), sum(hash({", ".join(exact)})::HUGEINT){sums} FROM (SELECT *, {weight} AS weight FROM {rows})
        """
    ).fetchall()[0]
    if not count:
        return hashlib.sha256(b"").hexdigest()
    figures = [str(count), str(total), *(f"{value:.6e}" for value in numbers)]
    return hashlib.sha256(json.dumps([list(kinds), *figures]).encode()).hexdigest()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

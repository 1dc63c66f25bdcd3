"""A digest of a table's content, the same whatever the order of its rows and of the sums that made them."""

import hashlib
import json
from collections.abc import Sequence
from typing import Final

import duckdb

_FLOATS: Final = ("FLOAT", "DOUBLE")


def content_hash(connection: duckdb.DuckDBPyConnection, rows: str, keys: Sequence[str] = ()) -> str:
    """The digest of `rows`, which is SQL for a table.

    Without `keys` every value counts exactly. With them, numbers with fractions are worked out from others, in an
    order that changes from run to run: of those a sum weighted by the key counts, to seven digits.
    """
    kinds = {row[0]: row[1] for row in connection.execute(f"DESCRIBE SELECT * FROM {rows}").fetchall()}
    summed = [name for name, kind in kinds.items() if keys and kind in _FLOATS]
    exact = ", ".join(
        f"coalesce({f'round({_quoted(name)}, 6)' if kind in _FLOATS else _quoted(name)}::VARCHAR, '')"
        for name, kind in kinds.items()
        if name not in summed
    )
    weight = f"(1 + md5_number_lower(concat_ws(chr(31), {', '.join(map(_quoted, keys))})) / 2.0::DOUBLE ** 64)"
    sums = "".join(f", sum(coalesce({_quoted(name)}::DOUBLE, -1) * weight)" for name in summed)
    weighted = f", {weight} AS weight" if summed else ""
    found = connection.execute(
        f"""
        SELECT count(*), sum(md5_number_lower(concat_ws(chr(31), {exact}))::HUGEINT){sums}
        FROM (SELECT *{weighted} FROM {rows})
        """
    ).fetchall()[0]
    if not found[0]:  # an empty table may have lost its columns
        return hashlib.sha256(b"").hexdigest()
    said = [*map(str, found[:2]), *(f"{value:.6e}" for value in found[2:] if value is not None)]
    return hashlib.sha256(json.dumps([list(kinds), *said]).encode()).hexdigest()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

"""Encodes rows of `batch_users` in PostgreSQL's binary COPY format; see `binary_copy`."""

import json
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from infra.database.binary_copy import fill_array, record
from models.lists.ranked_lists import BatchUsers

NAMES: Final = ("batch_id", "user_key", "hidden", "due", "clicks", "traits")
_ARRAYS: Final = ("hidden", "due", "clicks")
_JSONB: Final = b"\x01"
"""The version of PostgreSQL's binary JSON, before the text."""
_ROWS: Final = 50_000
"""Rows that are encoded at once."""


def encoded_users(batch_id: int, users: BatchUsers) -> Iterator[bytes]:
    """Encode one row for each known user, and the row without a key of the items that are hidden from everybody."""
    yield _withheld(batch_id, users.withheld)
    known = users.known
    for start in range(0, len(known), _ROWS):
        yield from _encoded(batch_id, users, known[start : start + _ROWS])


def _withheld(batch_id: int, codes: NDArray[np.int32]) -> bytes:
    row = np.zeros(1, dtype=_record({"hidden": len(codes), "due": 0, "clicks": 0}, 0, 0))
    row["fields"], row["batch_size"], row["batch"], row["traits_size"] = len(NAMES), 8, batch_id, -1
    for name in _ARRAYS:
        fill_array(row, name, codes[None] if name == "hidden" else np.empty((1, 0), dtype=np.int32))
    return row.tobytes()


def _encoded(batch_id: int, users: BatchUsers, some: NDArray[np.int64]) -> Iterator[bytes]:
    """Yield the rows of some users, those of the same widths as one block."""
    keys = np.char.encode(users.keys[some], "utf-8")
    texts = [_json(users.traits.get(user)) for user in some.tolist()] if users.traits else [b""] * len(some)
    traits = np.array(texts, dtype=np.bytes_)
    of = {name: getattr(users, name) for name in _ARRAYS}
    widths = [codes.lengths[some] for codes in of.values()]
    table = np.column_stack([*widths, np.char.str_len(keys), np.char.str_len(traits)])
    order = np.lexsort(table.T)
    begins = 1 + np.flatnonzero((np.diff(table[order], axis=0) != 0).any(axis=1))
    for rows in np.split(order, begins) if len(order) else ():
        *lengths, key, text = table[rows[0]].tolist()
        width = dict(zip(_ARRAYS, lengths, strict=True))
        block = np.zeros(len(rows), dtype=_record(width, key, text))
        block["fields"], block["batch_size"], block["batch"], block["key_size"] = len(NAMES), 8, batch_id, key
        block["key"], block["traits_size"] = keys[rows], text or -1
        if text:
            block["traits"] = traits[rows]
        for name, codes in of.items():
            fill_array(block, name, codes.rows(some[rows], width[name]))
        yield block.tobytes()


def _record(width: dict[str, int], key: int, text: int) -> Any:
    """Return the type of a row with `width` codes per array, `key` bytes of user key and `text` bytes of traits."""
    kinds: list[Any] = [("fields", ">i2"), ("batch_size", ">i4"), ("batch", ">i8"), ("key_size", ">i4")]
    kinds += [("key", f"S{key}")] if key else []
    for name in _ARRAYS:
        kinds += record(name, width[name])
    return np.dtype([*kinds, ("traits_size", ">i4"), *([("traits", f"S{text}")] if text else [])])


def _json(traits: Any) -> bytes:
    return _JSONB + json.dumps(traits).encode() if traits else b""

"""Encodes rows in PostgreSQL's binary COPY format with NumPy: twice as fast as text, which has to be parsed.

The chapter COPY of the PostgreSQL manual, "Binary Format", defines the format.
"""

import io
import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
import psycopg2
from numpy.typing import NDArray
from sqlalchemy import Connection

from infra.database.engine import values_hidden
from models.lists.ranked_lists import BatchUsers, Lists

HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER: Final = b"\xff\xff"

INT4: Final = 23
_FLOAT4: Final = 700
"""PostgreSQL's ids of the types (pg_type.oid)."""
_NULL: Final = -1
_PIECE: Final = 1 << 20
"""Bytes that are sent at once."""
USER_COLUMNS: Final = ("batch_id", "user_key", "hidden", "due", "clicks", "traits")
_ARRAYS: Final = ("hidden", "due", "clicks")
_JSONB: Final = b"\x01"
"""The version of PostgreSQL's binary JSON, before the text."""
_ROWS: Final = 50_000
"""Rows that are encoded at once."""


def encoded(batch_id: int, rows: Lists) -> Iterator[bytes]:
    """Encode rows of (batch_id int8, subject text, items int4[], scores float4[], reasons int4[], short text).

    The rows are in any order: rows of the same widths are written as one block of records.
    """
    keys, why = (np.char.encode(words, "utf-8") for words in (rows.subjects, rows.short))
    widths = np.column_stack([rows.lengths, np.char.str_len(keys), np.char.str_len(why)])
    different, kind = np.unique(widths, axis=0, return_inverse=True)
    for number, (n, key, short) in enumerate(different.tolist()):
        selected = np.flatnonzero(kind.ravel() == number)
        block = np.zeros(len(selected), dtype=_record(n, key, short))
        block["fields"], block["batch_size"], block["batch"] = 6, 8, batch_id
        block["subject_size"], block["short_size"] = key, short or _NULL
        for name, words, width in (("subject", keys, key), ("short", why, short)):
            if width:
                block[name] = words[selected]
        for name, oid in (("items", INT4), ("scores", _FLOAT4), ("reasons", INT4)):
            fill_array(block, name, getattr(rows, name)[selected, :n], oid)
        yield block.tobytes()


def _record(n: int, key: int, short: int) -> Any:
    """Return the type of a row: `n` items per list, `key` bytes of subject, `short` bytes of shortfall reason."""
    kinds: list[Any] = [("fields", ">i2"), ("batch_size", ">i4"), ("batch", ">i8"), ("subject_size", ">i4")]
    kinds += [("subject", f"S{key}")] if key else []
    for name, value in (("items", ">i4"), ("scores", ">f4"), ("reasons", ">i4")):
        kinds += record(name, n, value)
    return np.dtype([*kinds, ("short_size", ">i4"), *([("short", f"S{short}")] if short else [])])


def record(name: str, n: int, value: str = ">i4") -> list[Any]:
    """Return the fields of an array of `n` numbers of 4 bytes each in the type of a row."""
    heads = 5 if n else 3  # an empty array has no dimensions
    values = [(name, [("size", ">i4"), ("value", value)], (n,))] if n else []
    return [(f"{name}_size", ">i4"), (f"{name}_head", ">i4", (heads,)), *values]


def fill_array(block: Any, name: str, values: NDArray[Any], oid: int = INT4) -> None:
    """Set the fields of an array in rows [r] to `values` [r, n]."""
    n = values.shape[1]
    block[f"{name}_size"] = 20 + 8 * n if n else 12
    block[f"{name}_head"] = (1, 0, oid, n, 1) if n else (0, 0, oid)
    if n:
        block[name]["size"], block[name]["value"] = 4, values


def copy_binary(connection: Connection, target: str, names: Iterable[str], pieces: Iterable[bytes]) -> None:
    """Load rows in the connection's transaction; new rows are encoded while earlier ones are sent."""
    cursor: Any = connection.connection.cursor()
    statement = f"COPY {target} ({', '.join(names)}) FROM STDIN (FORMAT binary)"
    stream = _Stream(pieces)
    try:
        with values_hidden():
            cursor.copy_expert(statement, stream, size=_PIECE)
    except psycopg2.Error as error:
        # The error of the iterable explains more than "error in .read() call".
        raise stream.error or error from None


class _Stream(io.RawIOBase):
    """A stream of header, pieces and trailer, from which psycopg2 reads."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._pending = memoryview(HEADER)
        self._ended = False
        self.error: BaseException | None = None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes; none at the end."""
        while not self._pending and not self._ended:
            try:
                piece = next(self._pieces, None)
            except BaseException as error:
                self.error = error
                raise
            self._ended = piece is None
            self._pending = memoryview(TRAILER if piece is None else piece)
        limit = len(self._pending) if size < 0 else size
        taken, self._pending = self._pending[:limit], self._pending[limit:]
        return bytes(taken)


def encoded_users(batch_id: int, users: BatchUsers) -> Iterator[bytes]:
    """Encode one row for each known user, and the row without a key of the items that are hidden from everybody."""
    yield _withheld(batch_id, users.withheld)
    known = users.known
    for start in range(0, len(known), _ROWS):
        yield from _user_rows(batch_id, users, known[start : start + _ROWS])


def _withheld(batch_id: int, codes: NDArray[np.int32]) -> bytes:
    row = np.zeros(1, dtype=_user_record({"hidden": len(codes), "due": 0, "clicks": 0}, 0, 0))
    row["fields"], row["batch_size"], row["batch"], row["traits_size"] = len(USER_COLUMNS), 8, batch_id, -1
    for name in _ARRAYS:
        fill_array(row, name, codes[None] if name == "hidden" else np.empty((1, 0), dtype=np.int32))
    return row.tobytes()


def _user_rows(batch_id: int, users: BatchUsers, some: NDArray[np.int64]) -> Iterator[bytes]:
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
        block = np.zeros(len(rows), dtype=_user_record(width, key, text))
        block["fields"], block["batch_size"], block["batch"], block["key_size"] = len(USER_COLUMNS), 8, batch_id, key
        block["key"], block["traits_size"] = keys[rows], text or -1
        if text:
            block["traits"] = traits[rows]
        for name, codes in of.items():
            fill_array(block, name, codes.rows(some[rows], width[name]))
        yield block.tobytes()


def _user_record(width: dict[str, int], key: int, text: int) -> Any:
    """Return the type of a row with `width` codes per array, `key` bytes of user key and `text` bytes of traits."""
    kinds: list[Any] = [("fields", ">i2"), ("batch_size", ">i4"), ("batch", ">i8"), ("key_size", ">i4")]
    kinds += [("key", f"S{key}")] if key else []
    for name in _ARRAYS:
        kinds += record(name, width[name])
    return np.dtype([*kinds, ("traits_size", ">i4"), *([("traits", f"S{text}")] if text else [])])


def _json(traits: Any) -> bytes:
    return _JSONB + json.dumps(traits).encode() if traits else b""

"""Encodes rows in PostgreSQL's binary COPY format with NumPy: twice as fast as text, which has to be parsed.

The chapter COPY of the PostgreSQL manual, "Binary Format", defines the format.
"""

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import numpy as np
import psycopg2
from numpy.typing import NDArray
from sqlalchemy import Connection

from infra.database.engine import values_hidden
from models.lists.ranked_lists import BatchUsers, Lists

HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER: Final = b"\xff\xff"

_OIDS: Final = {"i": 23, "f": 700}
"""PostgreSQL's ids (pg_type.oid) of int4 and float4, by NumPy's kind."""
_NULL: Final = -1
_PIECE: Final = 1 << 20
"""Bytes that are sent at once."""
USER_COLUMNS: Final = ("batch_id", "user_key", "hidden", "due", "clicks", "traits")
_JSONB: Final = b"\x01"
"""The version of PostgreSQL's binary JSON, before the text."""
_ROWS: Final = 50_000
"""Rows of users that are encoded at once."""
_Values = Callable[[str, NDArray[np.int64], int], NDArray[Any]]
"""Returns [r, n] the numbers, of 4 bytes each, that an array has in some rows: `n` in each of them."""


def encoded(batch_id: int, rows: Lists) -> Iterator[bytes]:
    """Encode rows of (batch_id int8, subject text, items int4[], scores float4[], reasons int4[], short text)."""
    keys, why = (np.char.encode(words, "utf-8") for words in (rows.subjects, rows.short))
    lengths = dict.fromkeys(("items", "scores", "reasons"), rows.lengths)
    return _blocks(batch_id, keys, lengths, lambda name, some, n: getattr(rows, name)[some, :n], why)


def encoded_users(batch_id: int, users: BatchUsers) -> Iterator[bytes]:
    """Encode one row for each known user, and the row without a key of the items that are hidden from everybody."""
    nobody, numbers = np.array([b""]), {"hidden": len(users.withheld), "due": 0, "clicks": 0}
    lengths = {name: np.array([n]) for name, n in numbers.items()}
    yield from _blocks(batch_id, nobody, lengths, lambda _name, _rows, n: users.withheld[None, :n], nobody)
    known = users.known
    for start in range(0, len(known), _ROWS):
        some = known[start : start + _ROWS]
        keys = np.char.encode(users.keys[some], "utf-8")
        traits = np.array([_json(users.traits.get(user)) for user in some.tolist()], dtype=np.bytes_)
        lengths = {name: getattr(users, name).lengths[some] for name in numbers}
        yield from _blocks(batch_id, keys, lengths, partial(_of_users, users, some), traits)


def _of_users(users: BatchUsers, some: NDArray[np.int64], name: str, rows: NDArray[np.int64], n: int) -> NDArray[Any]:
    codes: NDArray[np.int32] = getattr(users, name).rows(some[rows], n)
    return codes


def _json(traits: Any) -> bytes:
    return _JSONB + json.dumps(traits).encode() if traits else b""


def _blocks(
    batch_id: int,
    keys: NDArray[np.bytes_],
    lengths: Mapping[str, NDArray[np.int64]],
    values: _Values,
    texts: NDArray[np.bytes_],
) -> Iterator[bytes]:
    """Encode rows of a batch, a key, arrays of numbers and a text, in any order; an empty text is NULL.

    Rows of the same widths are written as one block of records.
    """
    widths = np.column_stack([*lengths.values(), np.char.str_len(keys), np.char.str_len(texts)])
    order = np.lexsort(widths.T)
    begins = 1 + np.flatnonzero((np.diff(widths[order], axis=0) != 0).any(axis=1))
    for rows in np.split(order, begins) if len(order) else ():
        *counts, key, text = widths[rows[0]].tolist()
        arrays = {name: values(name, rows, n) for name, n in zip(lengths, counts, strict=True)}
        block = np.zeros(len(rows), dtype=_record(arrays, key, text))
        block["fields"], block["batch_size"], block["batch"] = len(arrays) + 3, 8, batch_id
        block["key_size"], block["text_size"] = key, text or _NULL
        for name, words, width in (("key", keys, key), ("text", texts, text)):
            if width:
                block[name] = words[rows]
        for name, numbers in arrays.items():
            n, oid = numbers.shape[1], _OIDS[numbers.dtype.kind]
            block[f"{name}_size"] = 20 + 8 * n if n else 12
            block[f"{name}_head"] = (1, 0, oid, n, 1) if n else (0, 0, oid)
            if n:
                block[name]["size"], block[name]["value"] = 4, numbers
        yield block.tobytes()


def _record(arrays: Mapping[str, NDArray[Any]], key: int, text: int) -> Any:
    """Return the type of a row with these arrays, `key` bytes of key and `text` bytes of text."""
    kinds: list[Any] = [("fields", ">i2"), ("batch_size", ">i4"), ("batch", ">i8"), ("key_size", ">i4")]
    kinds += [("key", f"S{key}")] if key else []
    for name, numbers in arrays.items():
        n = numbers.shape[1]
        heads = 5 if n else 3  # an empty array has no dimensions
        kinds += [(f"{name}_size", ">i4"), (f"{name}_head", ">i4", (heads,))]
        kinds += [(name, [("size", ">i4"), ("value", f">{numbers.dtype.kind}4")], (n,))] if n else []
    return np.dtype([*kinds, ("text_size", ">i4"), *([("text", f"S{text}")] if text else [])])


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

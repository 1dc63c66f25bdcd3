"""Searches every store for a user, without the list of columns that an erasure deletes by."""

import gzip
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import Connection, text

from infra.database.schema.privacy_schema import privacy_subjects
from infra.database.schema.schema import suppressions, users
from infra.installation import Installation
from infra.keys import credentials
from infra.keys.identity import user_key_of
from tasks.privacy.requests import keys_of

_TABLES: Final = text("""
    SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables
    WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')
        AND format('%I.%I', table_schema, table_name)::regclass NOT IN (SELECT partrelid FROM pg_partitioned_table)
    ORDER BY 1""")
_KEEPS_OUT: Final = (f"public.{suppressions.name}", f"identity.{privacy_subjects.name}")
"""Tables that hold the keys of users in order to keep them out."""
_NOT_SEARCHED: Final = ("postgres", credentials.FOLDER)
"""Folders of `var` that hold the database's own files, which are searched as tables, and keys."""
_BLOCK: Final = 2**24


class Found(NamedTuple):
    """A place that names a user."""

    place: str
    rows: int
    """Rows of a table, or 1 for a file."""


def find_user(installation: Installation, user_id: str) -> list[Found]:
    """Return all places that hold the user: the raw id in tables of raw ids, else the keys of the user and devices.

    It reads every table, and every file of the lake and of `var`.
    """
    with installation.engine.connect() as connection:
        keys = list(keys_of(connection, installation, [user_id]))
        found = [*_in_tables(connection, keys)]
        if user_key_of(connection, user_id):
            found.append(Found("identity.users, raw id", 1))
    var, lake = Path(installation.settings.var).absolute(), Path(installation.settings.lake).absolute()
    wanted, written = pa.array(keys, pa.string()), _written(keys)
    for root in (var,) if lake.is_relative_to(var) else (var, lake):
        found += [Found(str(path), 1) for path in _files(root) if _holds(path, wanted, written)]
    return found


def _in_tables(connection: Connection, keys: list[str]) -> Iterator[Found]:
    patterns = [f"%{key}%" for key in keys]
    for table in connection.execute(_TABLES).scalars().all():
        if table not in _KEEPS_OUT:
            held = "AND (erased_at IS NULL OR consent)" if table == f"public.{users.name}" else ""
            statement = f"SELECT count(*) FROM {table} AS entry WHERE entry::text LIKE ANY (:patterns) {held}"
            if rows := connection.execute(text(statement), {"patterns": patterns}).scalar_one():
                yield Found(table, rows)


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if Path(folder) != root or name not in _NOT_SEARCHED]
        paths = (Path(folder) / name for name in names)
        yield from (path for path in paths if path.is_file() and not path.is_symlink())


def _holds(path: Path, keys: pa.Array, written: list[bytes]) -> bool:
    """Return whether a file holds one of the keys, packed or not. A file that ends meanwhile holds none."""
    try:
        if path.suffix == ".parquet":
            return _parquet_holds(path, keys)
        return any(word in block for block in _blocks(path, max(map(len, written))) for word in written)
    except FileNotFoundError:
        return False


def _written(keys: list[str]) -> list[bytes]:
    """Return the keys in the encodings of texts and of NumPy's arrays."""
    return [key.encode(encoding) for key in keys for encoding in ("utf-8", "utf-32-le")]


def _parquet_holds(path: Path, keys: pa.Array) -> bool:
    with pq.ParquetFile(path) as file:
        names = [field.name for field in file.schema_arrow if _is_text(field.type)]
        return any(
            pc.any(pc.is_in(column.cast(pa.string()), value_set=keys)).as_py()
            for batch in file.iter_batches(columns=names)
            for column in batch.columns
        )


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _blocks(path: Path, overlap: int) -> Iterator[bytes]:
    """Yield the content in blocks that overlap, unpacked if it is an archive."""
    with ExitStack() as opened:
        if zipfile.is_zipfile(path):
            archive = opened.enter_context(zipfile.ZipFile(path))
            files: list[IO[bytes]] = [opened.enter_context(archive.open(name)) for name in archive.namelist()]
        else:
            reader: Callable[[Path, str], Any] = gzip.open if path.suffix == ".gz" else Path.open
            files = [opened.enter_context(reader(path, "rb"))]
        for file in files:
            end = b""
            while block := file.read(_BLOCK):
                yield end + block
                end = block[-overlap:]

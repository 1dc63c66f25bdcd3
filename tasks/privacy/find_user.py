"""Searches every store of the register for a user, without the columns that an erasure deletes by."""

import gzip
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import gettempdir
from typing import IO, Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError

from infra.database.schema.schema import users
from infra.installation import Installation
from infra.keys.identity import user_key_of
from infra.services.endpoints import service_database
from models.errors import TailorbirdError
from tasks.privacy.register import KEEP_AWAY, STORES, Place, Store
from tasks.privacy.requests import keys_of

_TABLES: Final = text("""
    SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables
    WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')
        AND format('%I.%I', table_schema, table_name)::regclass NOT IN (SELECT partrelid FROM pg_partitioned_table)
    ORDER BY 1""")
_KEEP_AWAY: Final = {name if "." in name else f"public.{name}" for name in KEEP_AWAY}
_BLOCK: Final = 2**24
_DIGITS: Final = 8
"""Digits of a pseudonym that reports show."""
_TEXTS: Final = (".html", ".json", ".txt", ".md")
NAMES_ID: Final = "names the id"
NAMES_DIGITS: Final = f"names the first {_DIGITS} digits of a pseudonym"
Search = Callable[[str, list[str]], int]
"""A search by the raw id and the keys of a user, which returns the number of rows."""


class Found(NamedTuple):
    """A place that names a user, or that was not searched."""

    place: str
    rows: int
    """Rows of a table, or 1 for a file; 0 if it was not searched."""
    about: str = "names the user"
    """The name that was found, or why it was not searched."""


class _Wanted(NamedTuple):
    """The texts to search for in files."""

    keys: pa.Array
    written: list[bytes]
    """The keys in the encodings of texts and of NumPy's arrays."""
    raw: list[bytes]
    """The raw id, as it is and in JSON."""


def search(installation: Installation, user_id: str, others: Mapping[str, Search] | None = None) -> Iterator[Found]:
    """Yield all places that hold the user, and the stores that were not searched, each with the reason.

    Stores of raw ids are searched for the id, others for the keys of the user and devices: every table, and every file
    of the lake and of `var`. `others` are searches of stores that only serving reads, by name.
    """
    with installation.engine.connect() as connection:
        keys = list(keys_of(connection, installation, [user_id]))
        yield from (found for found in _in_tables(connection, keys) if found.place not in _KEEP_AWAY)
        if user_key_of(connection, user_id):
            yield Found("identity.users, raw id", 1)
    for name in ("mlflow", "prefect"):
        yield from _in_service(installation, name, keys)
    for store, find in (others or {}).items():
        try:
            if rows := find(user_id, keys):
                yield Found(store, rows)
        except TailorbirdError as error:
            yield _unsearched(store, str(error))
    raw = [user_id.encode(), json.dumps(user_id)[1:-1].encode()]
    written = [key.encode(encoding) for key in keys for encoding in ("utf-8", "utf-32-le")]
    yield from _in_files(installation, _Wanted(pa.array(keys, pa.string()), written, raw))
    if installation.endpoints.mlflow_login is None:
        yield _unsearched(Place.ARTIFACTS, "another server has them")
    yield from (_unsearched(f"{one.place}: {one.names}", one.unsearched) for one in STORES if one.unsearched)


def _unsearched(place: str, reason: str) -> Found:
    return Found(place, 0, f"not searched: {reason}")


def _in_tables(connection: Connection, keys: list[str], where: str = "") -> Iterator[Found]:
    patterns = [f"%{key}%" for key in keys]
    for table in connection.execute(_TABLES).scalars().all():
        own = not where and table == f"public.{users.name}"  # MLflow has a table of this name, too
        held = "AND (erased_at IS NULL OR consent)" if own else ""
        statement = f"SELECT count(*) FROM {table} AS entry WHERE entry::text LIKE ANY (:patterns) {held}"
        if rows := connection.execute(text(statement), {"patterns": patterns}).scalar_one():
            yield Found(f"{where}{table}", rows)


def _in_service(installation: Installation, name: str, keys: list[str]) -> Iterator[Found]:
    """Search the database of our own Prefect or MLflow."""
    place = f"database {name}"
    try:
        url = service_database(installation.settings, installation.endpoints, name)
        if url is None:
            yield _unsearched(place, "another server has it")
            return
        opened = create_engine(url, hide_parameters=True)
        with opened.connect() as connection:
            yield from _in_tables(connection, keys, f"{name}: ")
        opened.dispose()
    except (DBAPIError, TailorbirdError):
        yield _unsearched(place, "it cannot be read with the login of this installation")


def _in_files(installation: Installation, wanted: _Wanted) -> Iterator[Found]:
    var, lake = Path(installation.settings.var).absolute(), Path(installation.settings.lake).absolute()
    for path in _files(var):
        yield from _in_file(str(path), path, wanted, _store_of(path.relative_to(var).parts[0]))
    if "://" in installation.settings.lake or not lake.is_relative_to(var):
        for name, path in installation.lake.all_files():
            yield from _in_file(f"{installation.settings.lake}/{name}", path, wanted, None)
    for folder in Path(gettempdir()).glob("tailorbird-lake-*"):
        for path in _files(folder):
            yield from _in_file(str(path), path, wanted, None)


def _store_of(folder: str) -> Store | None:
    stores = (store for store in STORES if store.place is Place.VAR)
    return next((one for one in stores if any(fnmatchcase(folder, name) for name in one.names.split())), None)


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        if Path(folder) == root:
            folders[:] = [name for name in folders if not (known := _store_of(name)) or not known.unsearched]
        paths = (Path(folder) / name for name in names)
        yield from (path for path in paths if path.is_file() and not path.is_symlink())


def _in_file(place: str, path: Path, wanted: _Wanted, store: Store | None) -> Iterator[Found]:
    """Yield what a file names, packed or not. A file that ends meanwhile names nothing."""
    try:
        if path.suffix == ".parquet":
            raw = [one.decode() for one in wanted.raw] if store and store.by_id else []
            if _parquet_holds(path, pa.array([*wanted.keys.to_pylist(), *raw], pa.string()), numbers=bool(raw)):
                yield Found(place, 1)
        elif any(word in block for block in _blocks(path, max(map(len, wanted.written))) for word in wanted.written):
            yield Found(place, 1)
        elif store and store.by_id and _has_word(path, wanted.raw, rb"\w"):
            yield Found(place, 1, NAMES_ID)
        elif path.suffix in _TEXTS and _has_word(path, [key[:_DIGITS] for key in wanted.written[::2]], rb"[0-9a-f]"):
            yield Found(place, 1, NAMES_DIGITS)
    except FileNotFoundError:
        return


def _has_word(path: Path, words: list[bytes], letter: bytes) -> bool:
    """Return whether a text has one of the words, which no further letter precedes or follows."""
    written = b"|".join(re.escape(word) for word in words)
    pattern = re.compile(b"(?<!%b)(?:%b)(?!%b)" % (letter, written, letter))
    return any(pattern.search(block) for block in _blocks(path, max(map(len, words)) + 1))


def _parquet_holds(path: Path, keys: pa.Array, *, numbers: bool) -> bool:
    """Return whether a column of texts, or of whole numbers too, has one of the keys."""
    with pq.ParquetFile(path) as file:
        types = {field.name: field.type for field in file.schema_arrow}
        names = [name for name, kind in types.items() if _is_text(kind) or (numbers and pa.types.is_integer(kind))]
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

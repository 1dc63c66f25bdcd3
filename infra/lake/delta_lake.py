"""The lake: Delta tables of events and data sets, in a folder or an object store."""

import atexit
import hashlib
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory, mkdtemp
from typing import Any, Final, Literal
from urllib.parse import unquote

import pyarrow as pa
from deltalake import ColumnProperties, CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import FileSelector, PyFileSystem

from infra.lake import compaction
from models import columns
from models.errors import TailorbirdError

_PLAIN = ColumnProperties(dictionary_enabled=False, statistics_enabled="NONE")
# Their values are unique: a dictionary of them takes as long as everything else together.
EVENT_FILES = WriterProperties(column_properties={columns.EVENT_ID: _PLAIN, columns.PAYLOAD_HASH: _PLAIN})
_REPEATED = ColumnProperties(dictionary_enabled=True)
# Only names repeat in a data set: a dictionary of all numbers takes twice as long as everything else together. The
# users and items of a large shop do not fit into a dictionary of the usual 1 MB.
DATASET_FILES = WriterProperties(
    compression="LZ4_RAW",
    default_column_properties=ColumnProperties(dictionary_enabled=False),
    column_properties={columns.USER_KEY: _REPEATED, columns.ITEM_ID: _REPEATED, columns.EVENT_TYPE: _REPEATED},
    dictionary_page_size_limit=64 * 2**20,
)
_OWNER: Final = "installation"
_NO_ROWS: Final = pa.schema({"installation": pa.string()})
_BLOCK: Final = 1 << 20


@dataclass(frozen=True)
class Ownership:
    """The installation and the key that a lake belongs to."""

    installation: str
    key: str | None
    """The fingerprint of the pseudonym key of its users; None in lakes of earlier versions, which record none."""


@dataclass(frozen=True)
class Lake:
    """Tables below one root. A version of `events` identifies the events of a data set exactly."""

    root: str

    def _address(self, *parts: str) -> str:
        if "://" in self.root:
            return "/".join((self.root.rstrip("/"), *parts))
        return str(Path(self.root).absolute().joinpath(*parts))

    def _open(self, *parts: str, version: int | None = None) -> DeltaTable | None:
        try:
            return DeltaTable(self._address(*parts), version=version)
        except TableNotFoundError:
            return None

    def ownership(self) -> Ownership | None:
        """Return the owner of the lake; None for a lake without one."""
        table = self._open(_OWNER)
        if table is None:
            return None
        metadata = table.metadata()
        return Ownership(str(metadata.name), metadata.description or None)

    def owner(self) -> str | None:
        """Return the id of the installation that owns the lake; None for a lake without an owner."""
        owned = self.ownership()
        return owned.installation if owned else None

    def claim_for(self, installation: str, key: str | None = None) -> None:
        """Claim the lake for an installation unless it has an owner. Of two simultaneous claims the first one wins.

        `key` is the fingerprint of the pseudonym key.
        """
        try:
            # A table without rows is one small object, which every object store creates only once.
            DeltaTable.create(self._address(_OWNER), _NO_ROWS, mode="error", name=installation, description=key)
        except DeltaError:
            if self.owner() is None:
                raise

    def note_key(self, key: str) -> None:
        """Record the fingerprint of the key that makes the lake's user keys from now on."""
        table = self._open(_OWNER)
        if table is not None and table.metadata().description != key:
            table.alter.set_table_description(key)

    def has_events(self) -> bool:
        """Return whether there is an events table, without reading its log."""
        return DeltaTable.is_deltatable(self._address("events"))

    def events(self, version: int | None = None) -> DeltaTable | None:
        """Return the events table, at `version` if given; None before the first ingest."""
        return self._open("events", version=version)

    def event_files(
        self, version: int | None = None, months: Collection[str] | None = None, since: str = ""
    ) -> list[str]:
        """Return the Parquet files of the events table; only of some `months`, or `since` one (2026-03)."""
        table = self.events(version)
        files = self._paths(table) if table else []
        if months is not None:
            files = [file for file in files if any(f"/{columns.MONTH}={month}/" in file for month in months)]
        return [file for file in files if file.rpartition(f"/{columns.MONTH}=")[2] >= since]

    def committed_chunk(self, batch_id: str) -> int:
        """Return the last chunk of a batch in the lake; -1 without one."""
        table = self.events()
        return -1 if table is None else _last_chunk(table, batch_id)

    def append_events(self, events: pa.Table, batch_id: str, chunk: int) -> None:
        """Append one chunk unless the lake has it. Of two simultaneous calls one raises CommitFailedError."""
        table = self.events()
        if table is not None and _last_chunk(table, batch_id) >= chunk:
            return
        self._append(table, events, [Transaction(batch_id, chunk)])

    def append_batches(self, events: pa.Table, batch_ids: Sequence[str]) -> None:
        """Append whole batches of one chunk each, in one commit. Raises TailorbirdError if the lake has one of them.

        Of two simultaneous calls one raises CommitFailedError.
        """
        table = self.events()
        stored = [batch for batch in batch_ids if table is not None and _last_chunk(table, batch) >= 0]
        if stored:
            raise TailorbirdError(f"The lake has events of {', '.join(stored)} already. Run the command again.")
        self._append(table, events, [Transaction(batch, 0) for batch in batch_ids])

    def _append(self, table: DeltaTable | None, events: pa.Table, done: list[Transaction]) -> None:
        write_deltalake(
            table or self._address("events"),  # at the version that was checked: a chunk added since is a conflict
            events,
            mode="append",
            schema_mode="merge",  # a lake of an earlier version has fewer columns
            partition_by=[columns.MONTH],
            writer_properties=EVENT_FILES,
            configuration=compaction.KEEP_LOG,
            commit_properties=CommitProperties(app_transactions=done),
        )

    def remove_batch(self, *batch_ids: str) -> None:
        """Delete the events of batches and reset their chunks, so that corrected files can be ingested."""
        table = self.events()
        if table is None or not batch_ids:
            return
        reset = [Transaction(batch, -1) for batch in batch_ids]
        listed = ", ".join("'" + batch.replace("'", "''") + "'" for batch in batch_ids)
        before = table.version()
        table.delete(f"{columns.BATCH_ID} IN ({listed})", commit_properties=CommitProperties(app_transactions=reset))
        if table.version() == before:  # none of their rows was accepted, so Delta committed nothing
            self._claim(reset)

    def claim(self, batch_id: str, chunk: int) -> None:
        """Commit the last chunk of a batch again, so that a process that is about to write the next one fails."""
        self._claim([Transaction(batch_id, chunk)])

    def _claim(self, done: list[Transaction]) -> None:
        table = self.events()
        if table is not None:
            no_rows = pa.Table.from_batches([], pa.schema(table.schema()))
            write_deltalake(table, no_rows, mode="append", commit_properties=CommitProperties(app_transactions=done))

    def compact(self, now: datetime, keep_days: int, versions: Iterable[int]) -> compaction.CompactionReport | None:
        """Compact the events table; return its size before and after, or None before the first ingest.

        Call it under the lock of the lake's events, with the database's time. The `versions`, which data sets name,
        stay readable.
        """
        table = self.events()
        return compaction.compact(table, now, keep_days, versions) if table else None

    def write_dataset(self, version: str, name: str, rows: Any, append: bool = False) -> None:
        """Write one table of a data set, from a table or a stream of batches. Batches stream through memory.

        It replaces the remains of a crashed build, unless `rows` are a further part of the table to `append`.
        """
        mode: Literal["overwrite", "append"] = "append" if append else "overwrite"
        write_deltalake(self._address("datasets", version, name), rows, mode=mode, writer_properties=DATASET_FILES)

    def read_dataset(self, version: str, name: str, where: list[tuple[str, str, Any]] | None = None) -> pa.Table:
        """Return one table of a data set, or its rows `where` all conditions (column, operator, value) hold."""
        return pa.table(DeltaTable(self._address("datasets", version, name)).to_pyarrow_table(filters=where))

    def dataset_files(self, version: str, name: str) -> list[str]:
        """Return the Parquet files of one table of a data set."""
        return self._paths(self.dataset_table(version, name))

    def dataset_table(self, version: str, name: str) -> DeltaTable:
        """Return one table of a data set."""
        return DeltaTable(self._address("datasets", version, name))

    def stored_datasets(self) -> dict[str, list[str]]:
        """Return the tables of every data set by version, including data sets whose build was interrupted."""
        tables: dict[str, set[str]] = {}
        for path in self._files("datasets"):
            _, version, name, *_ = path.split("/")
            tables.setdefault(version, set()).add(name)
        return {version: sorted(names) for version, names in sorted(tables.items())}

    def drop_dataset(self, version: str) -> None:
        """Delete all files of a data set."""
        for path in self._files(f"datasets/{version}"):
            self._folder().delete_file(path)

    def all_files(self) -> Iterator[tuple[str, Path]]:
        """Yield the name and a local path of each file, also of logs and earlier versions.

        The copy of a file in an object store is deleted when the next one is asked for.
        """
        for name in self._files(""):
            if "://" not in self.root:
                yield name, Path(self._address(name))
                continue
            with TemporaryDirectory(prefix="tailorbird-lake-") as folder:
                _copy(self._folder(), name, Path(folder) / name)
                yield name, Path(folder) / name

    def _files(self, below: str) -> list[str]:
        chosen = FileSelector(below, recursive=True, allow_not_found=True)
        try:
            return [file.path for file in self._folder().get_file_info(chosen) if file.is_file]
        except TableNotFoundError:  # before the first ingest there is no folder
            return []

    def _folder(self) -> PyFileSystem:
        return PyFileSystem(DeltaStorageHandler(self._address()))

    def _paths(self, table: DeltaTable) -> list[str]:
        """Return the paths of a table's files. Delta encodes local paths like addresses, with %20 for a space."""
        if "://" in self.root:
            return local_copies(table)
        return [unquote(file) for file in table.file_uris()]


def _last_chunk(table: DeltaTable, batch_id: str) -> int:
    chunk = table.transaction_version(batch_id)
    return -1 if chunk is None else chunk


def local_copies(table: DeltaTable) -> list[str]:
    """Return the paths of copies of a table's files, for engines that cannot sign in to an object store.

    Each is copied once per process, and deleted with it: an erasure rewrites files, and no copy may outlast it for
    long.
    """
    root = table.table_uri.rstrip("/")
    folder = _copies_folder() / hashlib.sha256(root.encode()).hexdigest()[:16]
    store = PyFileSystem(DeltaStorageHandler(unquote(root)))
    names = [unquote(address.removeprefix(root).lstrip("/")) for address in table.file_uris()]
    for name in names:
        if not (folder / name).exists():
            _copy(store, name, folder / name)
    return [str(folder / name) for name in names]


def _copy(store: PyFileSystem, name: str, target: Path) -> None:
    """Copy a file completely or not at all: other threads may copy the same one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with store.open_input_stream(name) as source, NamedTemporaryFile(dir=target.parent, delete=False) as part:
        shutil.copyfileobj(source, part, _BLOCK)
    Path(part.name).replace(target)


@cache
def _copies_folder() -> Path:
    """Return this process's folder of copies (below TMPDIR), which only its user can read."""
    folder = Path(mkdtemp(prefix="tailorbird-lake-"))
    atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # forked processes share the folder
        shutil.rmtree(folder, ignore_errors=True)

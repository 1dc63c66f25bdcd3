"""The lake: Delta tables of events and of data set snapshots, in a folder or an object store."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import unquote

import pyarrow as pa
from deltalake import ColumnProperties, CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import FileSelector, PyFileSystem

from infra.lake import compaction
from infra.lake.remote_files import local_copies
from models import columns
from models.errors import TailorbirdError

_PLAIN = ColumnProperties(dictionary_enabled=False, statistics_enabled="NONE")
# Each of their values is there once: a dictionary of them takes as long as everything else together.
EVENT_FILES = WriterProperties(column_properties={columns.EVENT_ID: _PLAIN, columns.PAYLOAD_HASH: _PLAIN})
_REPEATED = ColumnProperties(dictionary_enabled=True)
# Of a data set only names repeat: a dictionary of all the numbers takes twice as long as everything else together. For
# the users and items of a large shop there is no room in a dictionary of the usual 1 MB.
DATASET_FILES = WriterProperties(
    compression="LZ4_RAW",
    default_column_properties=ColumnProperties(dictionary_enabled=False),
    column_properties={columns.USER_KEY: _REPEATED, columns.ITEM_ID: _REPEATED, columns.EVENT_TYPE: _REPEATED},
    dictionary_page_size_limit=64 * 2**20,
)
_OWNER: Final = "installation"
_NO_ROWS: Final = pa.schema({"installation": pa.string()})


class EventsStoredError(TailorbirdError):
    """Somebody else has brought events of a batch into the lake."""


@dataclass(frozen=True)
class Ownership:
    """Whose a lake is."""

    installation: str
    key: str | None
    """The fingerprint of the pseudonym key of its users; None in lakes from before it was written down."""


@dataclass(frozen=True)
class Lake:
    """Tables below one root. A version of `events` names exactly what a data set was built from."""

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
        """Return whose lake it is, or None for a lake without an owner."""
        table = self._open(_OWNER)
        if table is None:
            return None
        about = table.metadata()
        return Ownership(str(about.name), about.description or None)

    def owner(self) -> str | None:
        """Return the id of the installation that the lake belongs to, or None for a lake without one."""
        owned = self.ownership()
        return owned.installation if owned else None

    def claim_for(self, installation: str, key: str | None = None) -> None:
        """Make the lake this installation's unless it has an owner. Of two claims at once the first one stays.

        `key` is the fingerprint of the pseudonym key.
        """
        try:
            # A table without rows is one small object, which every object store creates once only.
            DeltaTable.create(self._address(_OWNER), _NO_ROWS, mode="error", name=installation, description=key)
        except DeltaError:
            if self.owner() is None:
                raise

    def note_key(self, key: str) -> None:
        """Write down the fingerprint of the key that the lake's users are named with from now on."""
        table = self._open(_OWNER)
        if table is not None and table.metadata().description != key:
            table.alter.set_table_description(key)

    def has_events(self) -> bool:
        """Return whether there is an events table, without reading its log."""
        return DeltaTable.is_deltatable(self._address("events"))

    def events(self, version: int | None = None) -> DeltaTable | None:
        """The events table as it is, or as it was at `version`; None before the first ingest."""
        return self._open("events", version=version)

    def event_files(
        self, version: int | None = None, months: Collection[str] | None = None, since: str = ""
    ) -> list[str]:
        """The Parquet files of the events table for an engine to read; of some `months`, or `since` one (2026-03)."""
        table = self.events(version)
        files = self._paths(table) if table else []
        if months is not None:
            files = [file for file in files if any(f"/{columns.MONTH}={month}/" in file for month in months)]
        return [file for file in files if file.rpartition(f"/{columns.MONTH}=")[2] >= since]

    def committed_chunk(self, batch_id: str) -> int:
        """The last chunk of the batch that the lake holds; -1 when it holds none."""
        table = self.events()
        return -1 if table is None else _last_chunk(table, batch_id)

    def append_events(self, events: pa.Table, batch_id: str, chunk: int) -> None:
        """Append one chunk once. Of two who do so at the same time one gets CommitFailedError."""
        table = self.events()
        if table is not None and _last_chunk(table, batch_id) >= chunk:
            return
        self._append(table, events, [Transaction(batch_id, chunk)])

    def append_batches(self, events: pa.Table, batch_ids: Sequence[str]) -> None:
        """Append whole batches of one chunk each, in one commit. Raises EventsStoredError if the lake has one of them.

        Of two who do so at the same time one gets CommitFailedError.
        """
        table = self.events()
        stored = [batch for batch in batch_ids if table is not None and _last_chunk(table, batch) >= 0]
        if stored:
            raise EventsStoredError(f"The lake has events of {', '.join(stored)} already. Run the command again.")
        self._append(table, events, [Transaction(batch, 0) for batch in batch_ids])

    def _append(self, table: DeltaTable | None, events: pa.Table, done: list[Transaction]) -> None:
        write_deltalake(
            table or self._address("events"),  # as it was when we looked: a chunk that came since is a conflict
            events,
            mode="append",
            schema_mode="merge",  # a lake of an earlier version has fewer columns
            partition_by=[columns.MONTH],
            writer_properties=EVENT_FILES,
            configuration=compaction.KEEP_LOG,
            commit_properties=CommitProperties(app_transactions=done),
        )

    def remove_batch(self, *batch_ids: str) -> None:
        """Take batches out again, and forget their chunks so that they can come in once they are corrected."""
        table = self.events()
        if table is None or not batch_ids:
            return
        forgotten = [Transaction(batch, -1) for batch in batch_ids]
        listed = ", ".join("'" + batch.replace("'", "''") + "'" for batch in batch_ids)
        before = table.version()
        table.delete(
            f"{columns.BATCH_ID} IN ({listed})", commit_properties=CommitProperties(app_transactions=forgotten)
        )
        if table.version() == before:  # none of their rows was accepted: Delta saw nothing to commit
            self._claim(forgotten)

    def claim(self, batch_id: str, chunk: int) -> None:
        """Say anew up to which chunk the lake holds a batch: whoever is about to write the next one fails."""
        self._claim([Transaction(batch_id, chunk)])

    def _claim(self, done: list[Transaction]) -> None:
        table = self.events()
        if table is not None:
            nothing = pa.Table.from_batches([], pa.schema(table.schema()))
            write_deltalake(table, nothing, mode="append", commit_properties=CommitProperties(app_transactions=done))

    def compact(self, now: datetime, keep_days: int, versions: Iterable[int]) -> dict[str, Any]:
        """Make the events table small again; returns what it was and is, or nothing before the first ingest.

        Call it under the lock of the lake's events, with the database's time. `versions` are the ones that data sets
        name: they stay readable.
        """
        table = self.events()
        return compaction.compact(table, now, keep_days, versions) if table else {}

    def write_dataset(self, version: str, name: str, rows: Any, append: bool = False) -> None:
        """Write one table of a data set snapshot, a table or a stream of batches, which is never held as a whole.

        What a crash may have left of it is replaced, unless `rows` are a further part of it to `append`.
        """
        mode: Literal["overwrite", "append"] = "append" if append else "overwrite"
        write_deltalake(self._address("datasets", version, name), rows, mode=mode, writer_properties=DATASET_FILES)

    def read_dataset(self, version: str, name: str, where: list[tuple[str, str, Any]] | None = None) -> pa.Table:
        """One table of a data set snapshot, or its rows `where` all of (column, operator, value) hold."""
        return pa.table(DeltaTable(self._address("datasets", version, name)).to_pyarrow_table(filters=where))

    def dataset_files(self, version: str, name: str) -> list[str]:
        """The Parquet files of one table of a data set snapshot, for an engine to read."""
        return self._paths(self.dataset_table(version, name))

    def dataset_table(self, version: str, name: str) -> DeltaTable:
        """One table of a data set snapshot."""
        return DeltaTable(self._address("datasets", version, name))

    def stored_datasets(self) -> dict[str, list[str]]:
        """The tables of every data set snapshot, also of those whose build was cut short, by version."""
        found: dict[str, set[str]] = {}
        for path in self._files("datasets"):
            _, version, name, *_ = path.split("/")
            found.setdefault(version, set()).add(name)
        return {version: sorted(names) for version, names in sorted(found.items())}

    def drop_dataset(self, version: str) -> None:
        """Delete all files of a data set snapshot."""
        for path in self._files(f"datasets/{version}"):
            self._folder().delete_file(path)

    def _files(self, below: str) -> list[str]:
        chosen = FileSelector(below, recursive=True, allow_not_found=True)
        return [file.path for file in self._folder().get_file_info(chosen) if file.is_file]

    def _folder(self) -> PyFileSystem:
        return PyFileSystem(DeltaStorageHandler(self._address()))

    def _paths(self, table: DeltaTable) -> list[str]:
        """Delta writes local paths like addresses: a space in a folder's name comes as %20."""
        if "://" in self.root:
            return local_copies(table)
        return [unquote(file) for file in table.file_uris()]


def _last_chunk(table: DeltaTable, batch_id: str) -> int:
    found = table.transaction_version(batch_id)
    return -1 if found is None else found

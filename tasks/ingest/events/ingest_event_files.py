"""Ingests events of many files: small ones in groups, the others one by one."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from typing import Final, TypedDict

from prefect import task

from infra.installation import Installation, current
from infra.services.data_docs import MAX_PAGES
from models.errors import TailorbirdError
from models.ingest.tabular.table_mapping import Mapping
from tasks.ingest import ledger
from tasks.ingest.events.classification import JoinedChunks
from tasks.ingest.events.ingest_events import (
    GROUP_FILES,
    GROUP_ROWS,
    EventFile,
    GroupWriter,
    ingest_single,
    open_events,
    read_group,
)
from tasks.ingest.ledger import IngestRequest, LedgerEntry, batch_of, request_of
from tasks.ingest.rows.quarantine import resolve_renamed
from tasks.orchestration.guards import without_values
from tasks.orchestration.run_artifacts import link_docs
from tasks.sources import locations
from tasks.sources.mapping_files import part_of, table_mapping
from tasks.sources.object_store import StoreUnreachableError
from tasks.sources.table_files import CHUNK_ROWS

_GROWTH: Final = 4
"""After a refused file the next ones are ingested alone, and then in groups that grow by this factor."""


class IngestedFiles(TypedDict):
    """The result of an ingest of many files."""

    lines: list[LedgerEntry]
    refused: dict[str, str]
    """By file, why it was refused."""


@dataclass
class _Group:
    """Files that are ingested one after the other, as far as possible together."""

    files: dict[str, EventFile] = field(default_factory=dict)
    copies: ExitStack = field(default_factory=ExitStack)
    """Holds the copies of files from an object store."""
    ahead: list[EventFile] = field(default_factory=list)
    reading: Future[JoinedChunks | None] | None = None
    """What `read_group` returns for the files `ahead`, which another thread reads."""


@dataclass
class _Run:
    """An ingest of files of one source: a group that is read, the files of the next one, and the results of others."""

    installation: Installation
    mapping: Mapping
    request: IngestRequest
    reader: ThreadPoolExecutor
    groups: GroupWriter
    lines: dict[str, LedgerEntry] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    read: _Group = field(default_factory=_Group)
    waiting: _Group = field(default_factory=_Group)
    most: int = GROUP_FILES

    def add(self, address: str) -> None:
        """Add a file to the waiting group, or to a new one if it does not fit in."""
        copy = ExitStack()
        if locations.is_address(address):
            self.groups.close()  # no other run waits for a download
        try:
            path = copy.enter_context(locations.fetched(address, self.installation.settings.var))
            batch = batch_of(self.mapping, "events", path, address, self.request)
            file = open_events(self.installation, self.mapping, batch, path)
        except TailorbirdError as error:
            copy.close()
            self.refused[locations.shown(address)] = str(error)
            if isinstance(error, StoreUnreachableError):
                raise
            return
        files = self.waiting.files
        again = any(file.batch.batch_id == other.batch.batch_id for other in files.values())
        rows = sum(other.rows for other in files.values())
        if again or rows + file.rows > GROUP_ROWS or len(files) >= self.most:
            self.flush()
        self.waiting.copies.push(copy)
        self.waiting.files[address] = file

    def flush(self) -> None:
        """Start to read the waiting group, and ingest the one before it meanwhile."""
        before, self.read, self.waiting = self.read, self.waiting, _Group()
        self.read.ahead = self._together(self.read)
        self.read.reading = self.reader.submit(read_group, self.installation, self.mapping, self.read.ahead)
        self._ingest(before)

    def close(self) -> None:
        """Release the lake, and remove the copies of files that were not ingested."""
        self.groups.close()
        self.read.copies.close()
        self.waiting.copies.close()

    def _ingest(self, group: _Group) -> None:
        """Ingest the files of a group, in their order."""
        with group.copies:
            if group.files:
                self._skip_committed(group)
            while group.files:
                count = self._ingest_together(group)
                if group.files and not count:
                    self._ingest_single(group, next(iter(group.files)))

    def _skip_committed(self, group: _Group) -> None:
        with self.installation.engine.begin() as connection:
            known = ledger.entries(connection, [file.batch.batch_id for file in group.files.values()])
            committed = {name for name, line in known.items() if line["status"] == ledger.COMMITTED}
            again = [file.batch for file in group.files.values() if file.batch.batch_id in committed]
            resolve_renamed(connection, again)
        for address, file in list(group.files.items()):
            if file.batch.batch_id in committed:
                self.lines[address] = known[file.batch.batch_id] | LedgerEntry(status=ledger.UNCHANGED)
                del group.files[address]

    def _together(self, group: _Group) -> list[EventFile]:
        """Return the first files of a group that are ingested together."""
        files = list(takewhile(lambda file: file.rows <= CHUNK_ROWS, list(group.files.values())[: self.most]))
        # If events have a consent column, one file decides about the events of the next, so it is committed first.
        return [] if len(files) < 2 or part_of(self.mapping, "events").consent else files

    def _ingest_together(self, group: _Group) -> int:
        """Ingest the first files of a group; returns how many were committed."""
        files = self._together(group)
        if not files:
            return 0
        read_now = partial(read_group, self.installation, self.mapping, files)
        try:
            count = self.groups.ingest(
                files, group.reading.result if group.reading and files == group.ahead else read_now
            )
        except TailorbirdError:
            count = 0  # ingested alone, each file states its own error
        with self.installation.engine.connect() as connection:
            lines = ledger.entries(connection, [file.batch.batch_id for file in files[:count]])
        for address, file in list(group.files.items())[:count]:
            self.lines[address] = lines[file.batch.batch_id]
            del group.files[address]
        self.most = min(GROUP_FILES, self.most * _GROWTH) if count == len(files) else 1
        return count

    def _ingest_single(self, group: _Group, address: str) -> None:
        file = group.files.pop(address)
        self.groups.close()
        try:
            self.lines[address] = ingest_single(self.installation, self.mapping, file)
        except TailorbirdError as error:
            self.refused[locations.shown(address)] = str(error)
            self.most = 1
        else:
            self.most = min(GROUP_FILES, self.most * _GROWTH)


@task(description="Ingest events of many files: each row is stored, quarantined or counted, once.")
@without_values
def ingest_event_files(mapping: str, files: Sequence[str], overrides: dict[str, str] | None = None) -> IngestedFiles:
    """Ingest files of a mapping's events in their order, each as its own batch; a refused file does not stop others.

    Ingesting the same files again changes nothing. After a crash committed files stay, and the others follow.
    """
    installation, tables = current(), table_mapping(mapping, overrides)
    with ThreadPoolExecutor(1) as reader:
        request, groups = request_of(mapping, overrides), GroupWriter(installation, tables)
        run = _Run(installation, tables, request, reader, groups)
        try:
            with suppress(StoreUnreachableError):  # the other files are in the same store
                for address in files:
                    run.add(address)
            run.flush()
            run.flush()
        finally:
            run.close()
    lines = [run.lines[address] | LedgerEntry(file=address) for address in files if address in run.lines]
    for place, line in enumerate(lines):
        line["data_docs"] = link_docs(line)["data_docs"] if place >= len(lines) - MAX_PAGES else None
    names = [name for name in map(locations.shown, files) if name in run.refused]
    return {"lines": lines, "refused": {name: run.refused[name] for name in names}}

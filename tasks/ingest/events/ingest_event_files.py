"""Ingests events of many files: small ones in groups, the others one by one."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final, TypedDict

from prefect import task

from infra.installation import Installation, current
from infra.services.data_docs import MAX_PAGES
from models.errors import TailorbirdError
from models.ingest.tabular.table_mapping import Mapping
from tasks.ingest import ledger
from tasks.ingest.events.ingest_events import (
    GROUP_FILES,
    GROUP_ROWS,
    EventFile,
    ingest_batch,
    ingest_group,
    open_events,
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
class _Run:
    """An ingest of files of one source: the files that wait for their group, and the results of the others."""

    installation: Installation
    mapping: Mapping
    request: IngestRequest
    lines: dict[str, LedgerEntry] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, EventFile] = field(default_factory=dict)
    most: int = GROUP_FILES
    room: ExitStack = field(default_factory=ExitStack)
    """Holds the copies of files from an object store until their group is done."""

    def add(self, address: str) -> None:
        """Add a file to the waiting group, after ingesting that group if the file does not fit in."""
        copy = ExitStack()
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
        again = any(file.batch.batch_id == other.batch.batch_id for other in self.waiting.values())
        rows = sum(other.rows for other in self.waiting.values())
        if again or rows + file.rows > GROUP_ROWS or len(self.waiting) >= self.most:
            self.flush()
        self.room.push(copy)
        self.waiting[address] = file

    def flush(self) -> None:
        """Ingest all waiting files, in their order."""
        self._skip_committed()
        while self.waiting:
            count = self._ingest_group(list(self.waiting.items()))
            if self.waiting and not count:
                self._ingest_single(next(iter(self.waiting)))
        self.room.close()

    def _skip_committed(self) -> None:
        with self.installation.engine.begin() as connection:
            known = ledger.entries(connection, [file.batch.batch_id for file in self.waiting.values()])
            committed = {name for name, line in known.items() if line["status"] == ledger.COMMITTED}
            again = [file.batch for file in self.waiting.values() if file.batch.batch_id in committed]
            resolve_renamed(connection, again)
        for address, file in list(self.waiting.items()):
            line = known.get(file.batch.batch_id)
            if line and file.batch.batch_id in committed:
                line["status"] = ledger.UNCHANGED
                self.lines[address] = line
                del self.waiting[address]

    def _ingest_group(self, waiting: list[tuple[str, EventFile]]) -> int:
        """Ingest the first waiting files as one group; returns how many were committed."""
        group = list(takewhile(lambda entry: entry[1].rows <= CHUNK_ROWS, waiting[: self.most]))
        # If events have a consent column, one file decides about the events of the next, so it is committed first.
        if len(group) < 2 or part_of(self.mapping, "events").consent:
            return 0
        try:
            count = ingest_group(self.installation, self.mapping, [file for _, file in group])
        except TailorbirdError:
            count = 0  # ingested alone, each file states its own error
        with self.installation.engine.connect() as connection:
            lines = ledger.entries(connection, [file.batch.batch_id for _, file in group[:count]])
        for address, file in group[:count]:
            self.lines[address] = lines[file.batch.batch_id]
            del self.waiting[address]
        self.most = min(GROUP_FILES, self.most * _GROWTH) if count == len(group) else 1
        return count

    def _ingest_single(self, address: str) -> None:
        file = self.waiting.pop(address)
        try:
            self.lines[address] = ingest_batch(self.installation, self.mapping, file.batch, file.read_chunks, file.rows)
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
    run = _Run(installation, tables, request_of(mapping, overrides))
    with run.room:
        try:
            for address in files:
                run.add(address)
        except StoreUnreachableError:
            pass  # the other files are in the same store
        run.flush()
    lines = [run.lines[address] | LedgerEntry(file=address) for address in files if address in run.lines]
    for place, line in enumerate(lines):
        line["data_docs"] = link_docs(line)["data_docs"] if place >= len(lines) - MAX_PAGES else None
    names = [name for name in map(locations.shown, files) if name in run.refused]
    return {"lines": lines, "refused": {name: run.refused[name] for name in names}}

"""Takes the events of many files in: small ones in groups, the others one by one."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from math import ceil
from pathlib import Path
from typing import Any, Final

from prefect import task

from expectations.limits import highest_quarantined
from infra.installation import Installation, current
from infra.services.data_docs import MAX_PAGES
from models.errors import TailorbirdError
from models.ingest.tabular.config import Mapping
from tasks.ingest import ledger
from tasks.ingest.batch_identity import batch_of, part_of, request_of, table_mapping
from tasks.ingest.events.event_batch import ingest_batch, refuse_file
from tasks.ingest.events.file_groups import GROUP_FILES, GROUP_ROWS, GroupFile, ingest_group
from tasks.ingest.events.tabular_parts import checked, parts_of
from tasks.ingest.quarantine.resolved_rows import resolve_renamed
from tasks.orchestration.defects import without_values
from tasks.orchestration.run_artifacts import link_docs
from tasks.sources import locations
from tasks.sources.object_store_errors import StoreUnreachableError
from tasks.sources.table_files import CHUNK_ROWS

_GROWTH: Final = 4
"""After a refused file the next ones come in alone, and then in groups that grow by this factor again."""


@dataclass
class _Run:
    """Files of one source on their way in: those that wait for their group, and what became of the others."""

    installation: Installation
    mapping: Mapping
    request: dict[str, Any]
    lines: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    left: int = 0
    """Files that did not come yet."""
    waiting: dict[str, GroupFile] = field(default_factory=dict)
    most_rows: float = GROUP_ROWS
    most: int = GROUP_FILES
    room: ExitStack = field(default_factory=ExitStack)
    """Holds the copies of files from an object store until their group is done."""

    def add(self, address: str) -> None:
        """Let a file wait for its group, or bring it in after the group before it is done."""
        left, self.left = self.left, self.left - 1
        copy = ExitStack()
        try:
            file = self._open(address, copy.enter_context(locations.fetched(address, self.installation.settings.var)))
        except TailorbirdError as error:
            copy.close()
            self.refused[locations.shown(address)] = str(error)
            if isinstance(error, StoreUnreachableError):
                raise
            return
        again = any(file.batch.batch_id == other.batch.batch_id for other in self.waiting.values())
        rows = sum(other.rows for other in self.waiting.values())
        if again or rows + file.rows > self.most_rows or len(self.waiting) >= self.most:
            self.flush()
        if not self.waiting:
            self.most_rows = _even_share(file.rows * left)
        self.room.push(copy)
        self.waiting[address] = file

    def _open(self, address: str, path: Path) -> GroupFile:
        part = part_of(self.mapping, "events")
        batch = batch_of(self.mapping, "events", path, address, self.request)
        try:
            rows = checked(path, address, part, highest_quarantined("events", self.mapping.limits))
        except TailorbirdError as error:
            refuse_file(self.installation, batch, str(error))
            raise
        parts = partial(parts_of, mapping=self.mapping, path=path)
        return GroupFile(batch, parts, rows, identified=part.event_id is not None)

    def flush(self) -> None:
        """Bring in all files that wait, in their order."""
        self._skip_committed()
        while self.waiting:
            taken = self._together(list(self.waiting.items()))
            if self.waiting and not taken:
                self._alone(next(iter(self.waiting)))
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
                self.lines[address] = line | {"status": ledger.UNCHANGED}
                del self.waiting[address]

    def _together(self, waiting: list[tuple[str, GroupFile]]) -> int:
        """Bring in the first files that wait as one group; returns how many came in."""
        group = list(takewhile(lambda entry: entry[1].rows <= CHUNK_ROWS, waiting[: self.most]))
        # By a consent of their own the events of one file decide about those of the next: it has to be committed.
        if len(group) < 2 or part_of(self.mapping, "events").consent:
            return 0
        try:
            taken = ingest_group(self.installation, self.mapping, [file for _, file in group])
        except TailorbirdError:
            taken = 0  # alone, each file says why
        with self.installation.engine.connect() as connection:
            lines = ledger.entries(connection, [file.batch.batch_id for _, file in group[:taken]])
        for address, file in group[:taken]:
            self.lines[address] = lines[file.batch.batch_id]
            del self.waiting[address]
        self.most = min(GROUP_FILES, self.most * _GROWTH) if taken == len(group) else 1
        return taken

    def _alone(self, address: str) -> None:
        file = self.waiting.pop(address)
        try:
            self.lines[address] = ingest_batch(self.installation, self.mapping, file.batch, file.parts, file.rows)
        except TailorbirdError as error:
            self.refused[locations.shown(address)] = str(error)
            self.most = 1
        else:
            self.most = min(GROUP_FILES, self.most * _GROWTH)


def _even_share(rows: int) -> float:
    """Return the rows of a group, if as many are left: groups of the same size, and no small one at the end."""
    even = 1.05 * rows / max(1, ceil(rows / GROUP_ROWS))
    return min(GROUP_ROWS, max(GROUP_ROWS / 2, even))


@task(description="Events of many files: into the lake, into quarantine, or counted; every row once.")
@without_values
def ingest_event_files(mapping: str, files: Sequence[str], overrides: dict[str, str] | None = None) -> dict[str, Any]:
    """Ingest files of a mapping's events in their order, each as a batch of its own.

    Returns the batches' lines in the ledger (`lines`), and for each refused file why (`refused`): it does not stop the
    others. The same files again change nothing; after a crash what came in stays, and the rest comes in.
    """
    installation, known = current(), table_mapping(mapping, overrides)
    run = _Run(installation, known, request_of(mapping, overrides), left=len(files))
    with run.room:
        try:
            for address in files:
                run.add(address)
        except StoreUnreachableError:
            pass  # the rest lies there too
        run.flush()
    lines = [run.lines[address] | {"file": address} for address in files if address in run.lines]
    shown = [line | {"data_docs": None} for line in lines[:-MAX_PAGES]] + [
        link_docs(line) for line in lines[-MAX_PAGES:]
    ]
    names = [name for name in map(locations.shown, files) if name in run.refused]
    return {"lines": shown, "refused": {name: run.refused[name] for name in names}}

"""Records this process as a running command, and watches its services."""

import shlex
import sys
import threading
from collections.abc import Collection
from contextlib import suppress

from infra.configuration import addresses
from infra.configuration.settings import Settings
from infra.private_files.permissions import private_files
from infra.services.state_file import Reporter
from infra.supervisor.running_commands.records import Record
from infra.supervisor.running_commands.watch import Watch

_LONGEST = 120


class Work:
    """The record and the watch of one command; `end` it when its flow has ended."""

    def __init__(self, record: Record | None = None, watch: Watch | None = None) -> None:
        self._record, self._watch = record, watch

    def note_flow_run(self, run_id: str) -> None:
        """Record the run in Prefect, so that it is marked as crashed if this process is killed."""
        if self._record is not None:
            with suppress(OSError):  # a full disk: the work continues
                self._record.add_flow_run(run_id)

    def end(self, *, forget: bool) -> None:
        """Stop watching, and delete the record (`forget`) if Prefect knows the end.

        Otherwise a later command checks.
        """
        if self._watch is not None:
            self._watch.end()
        if self._record is not None and forget:
            self._record.close()

    @property
    def explained(self) -> bool:
        """Return whether the watch has printed why the command ends."""
        return self._watch is not None and self._watch.explained


_works: list[Work] = []


def begin(settings: Settings, needed: Collection[str], report: Reporter) -> Work:
    """Record this process and watch its services; without a writable `var` the command runs without a record."""
    work = Work()
    with suppress(OSError), private_files():
        record = Record.open(settings.var, _command_line())
        work = Work(record)
        if threading.current_thread() is threading.main_thread():
            watch = Watch(settings, needed, record.command, report)
            watch.start()
            work = Work(record, watch)
    _works.append(work)
    return work


def explained() -> bool:
    """Return whether the reason for the end of this process is printed already."""
    return any(work.explained for work in _works)


def _command_line() -> str:
    line = addresses.redact(shlex.join(["tailorbird", *sys.argv[1:]]))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"

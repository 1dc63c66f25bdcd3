"""Ends a command whose services are stopped or gone: the clients of Prefect and MLflow would retry for minutes."""

import logging
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from typing import Final, NoReturn

from infra.configuration import addresses
from infra.configuration.settings import Settings
from infra.private_files.permissions import private_files
from infra.services.state_file import Reporter
from infra.supervisor.launcher import TITLES
from infra.supervisor.probes import probe
from infra.supervisor.running_commands import Record, RunningCommand

EVERY: Final = 1.0
"""Seconds between two checks."""
PATIENCE: Final = 20.0
"""Seconds that an own service may be gone: `up` may be restarting it."""
_GRACE: Final = 8.0
"""Seconds in which the command should end by itself."""
LONGEST_END: Final = _GRACE + 3 * EVERY
"""Seconds within which a command ends after a request."""
_SIGNAL: Final = signal.SIGUSR1
_AGAIN: Final = "Nothing is lost: run `tailorbird up`, then the same command again."


class ServicesGoneError(KeyboardInterrupt):
    """Raised in the main thread when the command has to end. As for Ctrl-C, no step treats it as its own failure."""


class Watch(threading.Thread):
    """Watches the services that a command needs. `explained` is true after it has printed why the command ends."""

    def __init__(self, settings: Settings, needed: Collection[str], command: RunningCommand, report: Reporter) -> None:
        super().__init__(daemon=True, name="watch of the services")
        self.explained = False
        self._command, self._report = command, report
        self._missing = partial(_missing, settings, needed)
        self._over = threading.Event()

    def start(self) -> None:
        """Start watching; call it in the main thread."""
        signal.signal(_SIGNAL, _raise)
        super().start()

    def end(self) -> None:
        """Stop watching: the command's work is done."""
        self._over.set()

    def run(self) -> None:
        """Check until the work is done, or end the command."""
        gone = Absence(self._missing, PATIENCE)
        while not self._over.wait(EVERY):
            reason = "`tailorbird down` stops the services" if self._command.has_to_end else gone.reason()
            if reason and not self._over.is_set():
                self._end(reason)

    def _end(self, reason: str) -> None:
        self.explained = True
        self._report(f"tailorbird: {reason}, so this command ends. {_AGAIN}")
        logging.disable(logging.CRITICAL)  # clients report the same fault with tracebacks
        os.kill(os.getpid(), _SIGNAL)
        if not self._over.wait(_GRACE):
            os._exit(1)  # as safe as a kill at any other moment


class Absence:
    """Measures how long services have been missing."""

    def __init__(self, missing: Callable[[], list[str]], patience: float) -> None:
        self._missing, self._patience, self._since = missing, patience, 0.0

    def reason(self) -> str:
        """Return which services have been missing for too long; empty if none."""
        names = self._missing()
        if not names:
            self._since = 0.0
            return ""
        self._since = self._since or time.monotonic()
        if time.monotonic() - self._since < self._patience:
            return ""
        return f"{' and '.join(names)} {'does' if len(names) == 1 else 'do'} not run any more"


def _missing(settings: Settings, needed: Collection[str]) -> list[str]:
    """Return the titles of own services whose processes are gone; clients handle external servers."""
    findings = probe(settings, needed)
    return [TITLES[name] for name, finding in findings.items() if not finding.reachable and not finding.passing]


def _raise(_number: int, _frame: object) -> NoReturn:
    raise ServicesGoneError


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

"""Stores records of running commands in `<var>/commands`.

A live command holds a lock on the file of its record. A file without a lock belongs to a killed command, on any host of
a shared `var`. A later process with the same pid is not mistaken for it. Children of a killed command may keep the
lock for some seconds, so its own host also checks the process.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from socket import gethostname
from typing import Final, Self, TextIO

import psutil

from infra.configuration.settings import Settings
from infra.prefect_api import flow_runs
from infra.services.endpoints import Endpoints, endpoints
from models.errors import TailorbirdError
from models.monitoring.guidance.next_step import Work

FOLDER: Final = "commands"
_RECORD: Final = ".json"
_END: Final = ".end"


@dataclass(frozen=True)
class RunningCommand:
    """A command with a record."""

    path: Path
    pid: int
    words: str
    """The command line without passwords."""
    since: str
    """Its start, in UTC."""
    flow_run: str = ""
    """The id of its run in Prefect; empty before there is one."""
    host: str = ""
    """The machine or container that runs it."""

    @property
    def flow(self) -> str:
        """Return the word after `tailorbird`, which is the name of its flow if it has one."""
        return self.words.partition(" ")[2].partition(" ")[0]

    @property
    def gone(self) -> bool:
        """Return whether its process has ended on this host, while a child still holds its lock."""
        if self.host != gethostname():
            return False
        try:
            return psutil.Process(self.pid).status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        except psutil.NoSuchProcess:
            return True

    @property
    def has_to_end(self) -> bool:
        """Return whether it has to end."""
        return self.path.with_suffix(_END).exists()

    def request_end(self) -> None:
        """Ask the command to end; it checks every second."""
        self.path.with_suffix(_END).touch(mode=0o600)

    def forget(self) -> None:
        """Delete the record."""
        self.path.with_suffix(_END).unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def __str__(self) -> str:
        """Return the command and its start."""
        return f"`{self.words}` (process {self.pid}, since {self.since[:16].replace('T', ' ')} UTC)"


class Record:
    """The record of this process, until `close` or the end of the process."""

    def __init__(self, command: RunningCommand, file: TextIO) -> None:
        self.command = command
        self._file = file

    @classmethod
    def open(cls, var: Path, words: str) -> Self:
        """Create the record, locked before others can see it."""
        folder = var / FOLDER
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"{os.getpid()}-{token_hex(4)}{_RECORD}"
        since, host = datetime.now(UTC).isoformat(timespec="seconds"), gethostname()
        command = RunningCommand(path, os.getpid(), words, since, host=host)
        draft = path.with_suffix(".draft")
        file = os.fdopen(os.open(draft, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600), "a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(json.dumps({"pid": command.pid, "words": words, "since": since, "host": host}) + "\n")
            file.flush()
            draft.rename(path)
        except OSError:  # a full disk
            draft.unlink(missing_ok=True)
            raise
        return cls(command, file)

    def add_flow_run(self, run_id: str) -> None:
        """Add the id of the run in Prefect."""
        self._file.write(json.dumps({"flow_run": run_id}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Delete the record: the command has ended by itself."""
        self.command.forget()
        self._file.close()


def running(var: Path) -> list[RunningCommand]:
    """Return the other running commands, the oldest first."""
    commands = [_read(path, file) for path, file in _opened(var) if not _lock(file)]
    others = [
        command for command in commands if command is not None and command.pid != os.getpid() and not command.gone
    ]
    return sorted(others, key=lambda command: command.since)


def killed(var: Path) -> Iterator[RunningCommand]:
    """Yield the commands that ended without closing their records, each locked against other processes."""
    for path, file in _opened(var):
        if _lock(file) and path.exists():
            command = _read(path, file)
            if command is None:
                path.unlink(missing_ok=True)
            else:
                yield command


def _opened(var: Path) -> Iterator[tuple[Path, TextIO]]:
    for path in list((var / FOLDER).glob(f"*{_RECORD}")):
        with suppress(FileNotFoundError), path.open() as file:  # it may be ending
            yield path, file


def _lock(file: TextIO) -> bool:
    """Try to lock a file; return False if a live command holds the lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(path: Path, file: TextIO) -> RunningCommand | None:
    """Read a record; return None if a full disk truncated it."""
    fields: dict[str, str] = {}
    try:
        for line in file:
            fields |= json.loads(line)
        pid, words, since = int(fields["pid"]), fields["words"], fields["since"]
    except (ValueError, TypeError, KeyError):
        return None
    return RunningCommand(path, pid, words, since, fields.get("flow_run", ""), fields.get("host", ""))


_OWN_RUN: Final = "PREFECT__FLOW_RUN_ID"
"""The variable in which Prefect passes the id of its run to a process of the worker."""
_WHY: Final = "The process of `{}` is gone: it was killed, or its machine stopped. The same command goes on from there."


def under_way(settings: Settings) -> list[Work]:
    """Return the work under way except this process; only commands if Prefect does not answer."""
    commands = running(settings.var)
    works = [Work(command.flow, str(command)) for command in commands]
    known = {command.flow_run for command in commands} | {os.environ.get(_OWN_RUN, "")}
    with suppress(OSError, TailorbirdError):
        now = endpoints(settings)
        if now.prefect_login:
            works += _of_the_worker(now, known)
    return works


def next_run(deployment: str, settings: Settings) -> str:
    """Return the time of the next planned run of a deployment; empty without one, or if Prefect does not answer."""
    with suppress(OSError, TailorbirdError):
        planned = flow_runs.next_planned(endpoints(settings), deployment)
        if planned is not None:
            return f"{planned:%A %Y-%m-%d %H:%M} UTC"
    return ""


def mark_crashed(now: Endpoints, var: Path) -> list[str]:
    """Mark the runs of killed commands as crashed, and return a line for each. Delete the records of these commands.

    Prefect would show the runs as running forever. Raises PrefectError when Prefect does not answer; the records stay
    for the next time.
    """
    lines = []
    for command in killed(var):
        run = flow_runs.find_run(now, command.flow_run) if command.flow_run else None
        if run is not None and flow_runs.state_of(run) not in flow_runs.OVER:
            flow_runs.crash_with_children(now, command.flow_run, _WHY.format(command.words))
            lines.append(f"The run {run.name!r} is marked as crashed: its command was killed")
        command.forget()
    return lines


def _of_the_worker(now: Endpoints, known: set[str]) -> list[Work]:
    runs = [run for run in flow_runs.under_way(now) if run.work_pool and run.id not in known]
    return [Work(flow_runs.flow_name(now, run), flow_runs.describe(run)) for run in runs]

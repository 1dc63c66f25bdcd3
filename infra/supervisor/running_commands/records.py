"""Records of running commands, in `<var>/commands`.

A command holds a lock on the file of its record while it lives. So a file without a lock is that of a killed command,
on whichever host of a shared `var`, and no later process with the same pid is taken for it. Processes that it began may
keep the lock for some seconds after a kill; on its own host its process is looked at too.
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

FOLDER: Final = "commands"
_RECORD: Final = ".json"
_END: Final = ".end"


@dataclass(frozen=True)
class RunningCommand:
    """A command that has a record."""

    path: Path
    pid: int
    words: str
    """As it was typed, without passwords."""
    since: str
    """The moment it began, in UTC."""
    flow_run: str = ""
    """The id of its run in Prefect, once there is one."""
    host: str = ""
    """The machine or container that it runs on."""

    @property
    def flow(self) -> str:
        """The word after `tailorbird`: the name of its flow, if it has one."""
        return self.words.partition(" ")[2].partition(" ")[0]

    @property
    def gone(self) -> bool:
        """Whether its process has ended on this host, while one that it began still has its lock."""
        if self.host != gethostname():
            return False
        try:
            return psutil.Process(self.pid).status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        except psutil.NoSuchProcess:
            return True

    @property
    def has_to_end(self) -> bool:
        """Whether it was asked to end."""
        return self.path.with_suffix(_END).exists()

    def request_end(self) -> None:
        """Ask it to end; it looks for that every second."""
        self.path.with_suffix(_END).touch(mode=0o600)

    def forget(self) -> None:
        """Delete the record."""
        self.path.with_suffix(_END).unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def __str__(self) -> str:
        """Return the command and since when it runs."""
        return f"`{self.words}` (process {self.pid}, since {self.since[:16].replace('T', ' ')} UTC)"


class Record:
    """The record of this process; it lasts until `close`, or until the process ends."""

    def __init__(self, command: RunningCommand, file: TextIO) -> None:
        self.command = command
        self._file = file

    @classmethod
    def open(cls, var: Path, words: str) -> Self:
        """Make the record and lock it before others can see it."""
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
        """Write down the id of the run in Prefect."""
        self._file.write(json.dumps({"flow_run": run_id}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Forget the command: it has ended by itself."""
        self.command.forget()
        self._file.close()


def running(var: Path) -> list[RunningCommand]:
    """Return the other commands that run, the oldest first."""
    commands = [_read(path, file) for path, file in _opened(var) if not _lock(file)]
    others = [
        command for command in commands if command is not None and command.pid != os.getpid() and not command.gone
    ]
    return sorted(others, key=lambda command: command.since)


def killed(var: Path) -> Iterator[RunningCommand]:
    """Yield the commands that ended without closing their records; no other process gets the same one meanwhile."""
    for path, file in _opened(var):
        if _lock(file) and path.exists():
            command = _read(path, file)
            if command is None:
                path.unlink(missing_ok=True)
            else:
                yield command


def _opened(var: Path) -> Iterator[tuple[Path, TextIO]]:
    for path in list((var / FOLDER).glob(f"*{_RECORD}")):
        with suppress(FileNotFoundError), path.open() as file:  # it may end at this moment
            yield path, file


def _lock(file: TextIO) -> bool:
    """Take the lock of a file; False while a living command has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(path: Path, file: TextIO) -> RunningCommand | None:
    """Return what a record says; None if it was cut short by a full disk."""
    fields: dict[str, str] = {}
    try:
        for line in file:
            fields |= json.loads(line)
        pid, words, since = int(fields["pid"]), fields["words"], fields["since"]
    except (ValueError, TypeError, KeyError):
        return None
    return RunningCommand(path, pid, words, since, fields.get("flow_run", ""), fields.get("host", ""))

"""Starts and stops processes that outlive the command that started them, and recognises them later."""

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from infra.private_files.permissions import PRIVATE
from models.errors import TailorbirdError

_MARK = "TAILORBIRD_SERVICE"
HIDDEN = "hidden:"
"""The prefix of the digest that is stored for a secret setting, so that a change can be detected."""
_LOG_BYTES = 10_000_000
_LOGIN = re.compile("//.*@")
"""User and password in an address."""
_CLOCK_STEP = 2.0
"""Seconds by which the start of a process may differ, because it is computed from the machine's clock."""


class ProcessFailedError(TailorbirdError):
    """A service ended instead of starting; the message quotes the end of its log."""


@dataclass(frozen=True)
class Running:
    """One started process. Its `mark` distinguishes it from a later process with the same pid.

    `created` (epoch seconds) does so for a process without a mark or with an unreadable environment. It changes when
    the machine's clock is set.
    """

    pid: int
    created: float
    mark: str = ""

    @property
    def alive(self) -> bool:
        """Return whether exactly this process still runs (a zombie does not)."""
        return _find(self) is not None


@dataclass(frozen=True)
class Command:
    """A process to start. `mark` (one per service and var folder) identifies its stray children.

    The process gets these variables and no others. `taken_over` come from the shell, so another shell is no reason for
    a restart. `reads` are the settings that it reads at its start, without passwords. `niceness` is that of the kernel,
    0 to 19.
    """

    mark: str
    arguments: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    taken_over: Mapping[str, str] = field(default_factory=dict, repr=False)
    folder: Path = Path("/")
    user: int | None = None
    niceness: int = 0
    reads: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Return a digest that changes when the command needs a restart; it depends on no secret."""
        public = {name: _LOGIN.sub("//", value) for name, value in self.environment.items()}
        reads = sorted((name, value) for name, value in self.reads.items() if not value.startswith(HIDDEN))
        # The umask is included: services that an earlier version started have another one.
        parts = [list(self.arguments), sorted(public.items()), str(self.folder), PRIVATE, *reads]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def start(command: Command) -> Running:
    """Start a process in its own session, so that closing the terminal or Ctrl-C does not end it."""
    command.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if command.log.exists() and command.log.stat().st_size > _LOG_BYTES:
        command.log.replace(command.log.with_suffix(".log.1"))
    with os.fdopen(os.open(command.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as log:
        process = subprocess.Popen(
            command.arguments,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=command.folder,
            env={**command.taken_over, **command.environment, **command.secrets, _MARK: command.mark},
            umask=PRIVATE,
            start_new_session=True,
            user=command.user,
            group=command.user,
            extra_groups=None if command.user is None else [],
        )
    if command.niceness:
        _be_nice(process.pid, command.niceness)
    return Running(process.pid, psutil.Process(process.pid).create_time(), command.mark)


def _be_nice(pid: int, niceness: int) -> None:
    """Let a process, and what it will start, leave the processors to others.

    Linux may share the processors between sessions first (autogroups); then the session needs the same number.
    """
    with contextlib.suppress(OSError):  # it has just ended, which its reader will report
        os.setpriority(os.PRIO_PROCESS, pid, niceness)
    with contextlib.suppress(OSError):  # a kernel without autogroups
        Path(f"/proc/{pid}/autogroup").write_text(str(niceness))


def stop(running: Running, mark: str, *, grace: float = 10, by: signal.Signals = signal.SIGTERM) -> bool:
    """Signal a process to end, and kill it after `grace` seconds, with its stray children.

    Return False if it was gone.
    """
    process = _find(running)
    if process is not None:
        _signal(process, by)
        _await_end([process], grace)
    end_strays(mark)
    if process is not None and _find(running) is not None:
        _signal(process, signal.SIGKILL)
        _await_end([process], 5)
    return process is not None


def end_strays(mark: str) -> None:
    """Kill the children of a killed service, which still hold its port."""
    strays = [p for p in psutil.process_iter() if p.pid != os.getpid() and _mark(p) == mark]
    for process in strays:
        _signal(process, signal.SIGKILL)
    _await_end(strays, 5)


def wait_until(ready: Callable[[], bool], running: Running, log: Path, seconds: float = 120) -> None:
    """Wait for `ready()`. Raises ProcessFailedError with the end of the log if the process ends or time runs out."""
    began = time.monotonic()
    while not ready():
        late = time.monotonic() - began > seconds
        if late or not running.alive:
            why = f"did not answer within {seconds:.0f} s" if late else "ended while starting"
            raise ProcessFailedError(f"A service {why}. The end of {log}:\n{tail(log)}")
        time.sleep(0.05)


def listens(running: Running, port: int) -> bool:
    """Return whether a process, or a child of it, listens on a port."""
    process = _find(running)
    if process is None:
        return False
    with contextlib.suppress(psutil.Error):  # one of them has just ended
        # Finding children takes ten times as long as checking one process.
        return _has_port(process, port) or any(_has_port(child, port) for child in process.children(recursive=True))
    return False


def _has_port(process: psutil.Process, port: int) -> bool:
    entries = process.net_connections("tcp")
    return any(entry.status == psutil.CONN_LISTEN and entry.laddr.port == port for entry in entries)


def tail(log: Path, lines: int = 12) -> str:
    """Return the last lines of a log file, indented."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


def _find(running: Running) -> psutil.Process | None:
    try:
        process = psutil.Process(running.pid)
        return process if _is(process, running) and _lives(process) else None
    except psutil.NoSuchProcess:
        return None


def _is(process: psutil.Process, running: Running) -> bool:
    """Compare by the mark, or by the start time while a process has no environment: at its very start and end."""
    # For the environment of a process that is ending, Linux reports that there is no such process.
    with contextlib.suppress(psutil.AccessDenied, psutil.NoSuchProcess):
        environment = process.environ() if running.mark else {}
        if environment:
            return bool(environment.get(_MARK) == running.mark)
    return bool(abs(process.create_time() - running.created) < _CLOCK_STEP)


def _await_end(ending: Sequence[psutil.Process], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(map(_lives, ending)):
        time.sleep(0.02)


def _lives(process: psutil.Process) -> bool:
    """Return whether a process runs. A zombie has ended, but it holds its port while it has threads left.

    The first process of the machine, its parent by then, may take seconds to collect it.
    """
    try:
        return bool(process.is_running() and (process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1))
    except psutil.NoSuchProcess:
        return False


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def _mark(process: psutil.Process) -> str | None:
    try:
        mark: str | None = process.environ().get(_MARK)
    except (psutil.Error, OSError):
        return None
    return mark

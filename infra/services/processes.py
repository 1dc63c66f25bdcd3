"""Processes that outlive the command that started them, and are recognised again by who they are."""

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
from typing import Any

import psutil

from infra.private_files.permissions import PRIVATE
from models.errors import TailorbirdError

_MARK = "TAILORBIRD_SERVICE"
HIDDEN = "hidden:"
"""Begins what is kept of a setting that is a secret: enough to see that it has changed."""
_LOG_BYTES = 10_000_000
_LOGIN = re.compile("//.*@")
"""User and password in an address."""
_CLOCK_STEP = 2.0
"""Seconds by which the start of a process may differ, as its time is worked out from the machine's clock."""


class ProcessFailedError(TailorbirdError):
    """A service ended instead of starting; the message quotes the end of its log."""


@dataclass(frozen=True)
class Running:
    """One started process. Its `mark` tells it from a later process that got the same pid.

    `created` (epoch s) does that for a process without a mark, or when its environment may not be read: it changes
    when the machine's clock is set.
    """

    pid: int
    created: float
    mark: str = ""

    @property
    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return _find(self) is not None


@dataclass(frozen=True)
class Command:
    """What to start. `mark` (one per service and var folder) is how stray children are found again.

    The process gets the variables named here and no others. `taken_over` come from the shell, so that another shell is
    no reason to start it again. `reads` are the settings that it reads for itself when it starts, without passwords.
    """

    mark: str
    arguments: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    taken_over: Mapping[str, str] = field(default_factory=dict, repr=False)
    folder: Path = Path("/")
    user: int | None = None
    reads: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Differs when a restart is needed for the command to take effect; depends on no secret."""
        public = {name: _LOGIN.sub("//", value) for name, value in self.environment.items()}
        reads = sorted((name, value) for name, value in self.reads.items() if not value.startswith(HIDDEN))
        # The umask is among them: a service that an earlier version started has another one, and all of a shell.
        parts = [list(self.arguments), sorted(public.items()), str(self.folder), PRIVATE, *reads]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def start(command: Command) -> Running:
    """Start it in a session of its own, so that closing the terminal or Ctrl-C does not end it."""
    command.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if command.log.exists() and command.log.stat().st_size > _LOG_BYTES:
        command.log.replace(command.log.with_suffix(".log.1"))
    identity: dict[str, Any] = {}
    if command.user is not None:
        identity = {"user": command.user, "group": command.user, "extra_groups": []}
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
            **identity,
        )
    return Running(process.pid, psutil.Process(process.pid).create_time(), command.mark)


def stop(running: Running, mark: str, *, grace: float = 10, by: signal.Signals = signal.SIGTERM) -> bool:
    """Ask it to end, then after `grace` seconds force it; its stray children go too. False if it was gone."""
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
    """Kill what a service left behind when it was killed itself: its children still hold its port."""
    strays = [p for p in psutil.process_iter() if p.pid != os.getpid() and _mark(p) == mark]
    for process in strays:
        _signal(process, signal.SIGKILL)
    _await_end(strays, 5)


def wait_until(ready: Callable[[], bool], running: Running, log: Path, seconds: float = 120) -> None:
    """Wait for `ready()`; raise ProcessFailedError with the end of the log when the process ends or time is up."""
    began = time.monotonic()
    while not ready():
        late = time.monotonic() - began > seconds
        if late or not running.alive:
            why = f"did not answer within {seconds:.0f} s" if late else "ended while starting"
            raise ProcessFailedError(f"A service {why}. The end of {log}:\n{tail(log)}")
        time.sleep(0.05)


def listens(running: Running, port: int) -> bool:
    """Whether it, or a child of it, is the one that answers on that port."""
    process = _find(running)
    if process is None:
        return False
    with contextlib.suppress(psutil.Error):  # one of them has just ended
        # Looking for children takes ten times as long as looking at one process.
        return _has_port(process, port) or any(_has_port(child, port) for child in process.children(recursive=True))
    return False


def _has_port(process: psutil.Process, port: int) -> bool:
    entries = process.net_connections("tcp")
    return any(entry.status == psutil.CONN_LISTEN and entry.laddr.port == port for entry in entries)


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log file, indented."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


def _find(running: Running) -> psutil.Process | None:
    try:
        process = psutil.Process(running.pid)
        return process if _is(process, running) and _lives(process) else None
    except psutil.NoSuchProcess:
        return None


def _is(process: psutil.Process, running: Running) -> bool:
    """By its mark, which no clock moves; by its start if it has no environment, as at the very start and end of it."""
    # Of a process that is ending Linux says that there is none, for its environment alone.
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
    """A zombie has ended: the machine's first process, whose child it is by now, may take seconds to notice. But while
    it has threads left, it holds its port."""
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

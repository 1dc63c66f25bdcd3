"""Runs the process that tries settings, watches its memory and time, and ends it at a limit."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from tempfile import TemporaryFile
from time import monotonic
from typing import IO, Final, Self

import psutil

from models.errors import TailorbirdError
from models.tuning.study_config import TrialLimits
from tasks.tuning.trial_child import FITTED, FITTING, Request

_POLL: Final = 0.1  # seconds between two measurements of the process
_ERROR_TAIL: Final = 4_000  # bytes


class SettingFailedError(Exception):
    """A setting with which the model cannot be fitted or measured."""


class StoppedError(Exception):
    """The search ends before the setting was measured."""


class OutageError(TailorbirdError):
    """A server was away; the setting can be tried again."""


class LimitExceededError(Exception):
    """A setting that exceeded limits; `excess` is the fraction above each limit."""

    def __init__(self, message: str, excess: dict[str, float]) -> None:
        super().__init__(message)
        self.excess = excess


@dataclass
class TrialProcess:
    """The process that tries settings, started with the first one and again after each one that ended it."""

    version: str
    limits: TrialLimits
    stop: Callable[[], bool]
    """Returns whether the search has ended meanwhile."""
    threads: int
    """Threads for the fits."""
    memory_mb: float = 0.0
    """The peak since it was last set to 0."""
    _child: subprocess.Popen[bytes] | None = None
    _errors: IO[bytes] | None = None
    """Its stderr."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.end()

    def measure(self, request: Request) -> dict[str, float]:
        """Return the figures of one setting on one fold, and its costs.

        Raises SettingFailedError, LimitExceededError, OutageError or StoppedError.
        """
        child = self._ready()
        fitting: float | None = None
        assert child.stdin is not None
        with suppress(BrokenPipeError):  # it has crashed; its stderr has the reason
            child.stdin.write(json.dumps(request).encode() + b"\n")
            child.stdin.flush()
        for line in self._lines(child):
            if line is None:
                self._watch(child, fitting)
                continue
            message = json.loads(line)
            if message == FITTING:
                fitting = monotonic()
            elif message == FITTED:
                fitting = None
            elif "outage" in message:
                self.end()  # its connections may be lost
                raise OutageError(message["outage"])
            elif "error" in message:
                raise SettingFailedError(message["error"])
            else:
                self._watch(child, None)
                return {**message, "memory_mb": self.memory_mb}
        self._watch(child, None)
        raise SettingFailedError(self._failure(child))

    def end(self) -> None:
        """End the process; the next setting gets a new one."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
        if self._errors is not None:
            self._errors.close()
        self._child = self._errors = None

    def _ready(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self.end()
            self._errors = TemporaryFile()  # noqa: SIM115 - it ends with the process
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "tasks.tuning.trial_child", self.version],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,  # an interrupt from the keyboard must not reach it
                env=os.environ | {"OMP_NUM_THREADS": str(self.threads)},
            )
        return self._child

    def _lines(self, child: subprocess.Popen[bytes]) -> Iterator[bytes | None]:
        """Yield its output lines, and None whenever there was none for a while, until the process ends."""
        assert child.stdout is not None
        partial = b""
        while True:
            if not select.select([child.stdout], [], [], _POLL)[0]:
                yield None
                continue
            chunk = os.read(child.stdout.fileno(), 65536)
            if not chunk:
                return
            *lines, partial = (partial + chunk).split(b"\n")
            yield from lines

    def _watch(self, child: subprocess.Popen[bytes], fitting: float | None) -> None:
        with suppress(psutil.Error):  # it has just ended
            self.memory_mb = max(self.memory_mb, psutil.Process(child.pid).memory_info().rss / 1e6)
        if self.stop():
            self.end()
            raise StoppedError
        limit = self.limits.memory_mb
        if limit is not None and self.memory_mb > limit:
            self.end()
            excess = {"memory_mb": self.memory_mb / limit - 1}
            raise LimitExceededError(f"it took {self.memory_mb:,.0f} MB of memory and may take {limit:,.0f}", excess)
        longest = self.limits.fit_seconds
        if fitting is not None and longest is not None and monotonic() - fitting > 2 * longest:
            self.end()
            excess = {"fit_seconds": (monotonic() - fitting) / longest - 1}
            raise LimitExceededError(f"it fitted for {2 * longest:g} s and may for {longest:g}", excess)

    def _failure(self, child: subprocess.Popen[bytes]) -> str:
        code, errors = child.wait(), self._errors
        assert errors is not None
        errors.seek(max(0, errors.seek(0, os.SEEK_END) - _ERROR_TAIL))
        lines = errors.read().decode(errors="replace").strip().splitlines()
        self.end()
        ended = f"signal {-code}" if code < 0 else f"code {code}"
        if code == -signal.SIGKILL:
            ended += " (out of memory, or killed by a person)"
        return f"the process that tried it ended with {ended}{': ' + lines[-1] if lines else ''}"

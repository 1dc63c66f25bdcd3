"""Asks a process of its own to try settings, watches what they take, and ends it when they take too much."""

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
from typing import IO, Any, Final, Self

import psutil

from models.errors import TailorbirdError
from models.tuning.study_config import TrialLimits
from tasks.tuning.trial_child import FITTED, FITTING, Request

_LOOK: Final = 0.1  # seconds between two looks at what a setting takes
_LAST_WORDS: Final = 4_000  # bytes
Answer = dict[str, Any]


class SettingFailedError(Exception):
    """A setting with which the model cannot be fitted or measured."""


class StoppedError(Exception):
    """The search ends before the setting was measured: nothing is known of it."""


class OutageError(TailorbirdError):
    """A server was away: the setting is as good as before."""


class LimitExceededError(Exception):
    """A setting that took more than it may; `excess` is how much more, by limit."""

    def __init__(self, message: str, excess: dict[str, float]) -> None:
        super().__init__(message)
        self.excess = excess


@dataclass
class TrialProcess:
    """Started with the first setting, and again after one that ended it."""

    version: str
    limits: TrialLimits
    stop: Callable[[], bool]
    """Whether the search has ended meanwhile."""
    threads: int
    """For the fits."""
    memory_mb: float = 0.0
    """The most it had since it was last set to 0."""
    _child: subprocess.Popen[bytes] | None = None
    _errors: IO[bytes] | None = None
    """What it says beside its answers."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.end()

    def measure(self, request: Request) -> Answer:
        """The figures of one setting on one fold, and what it took.

        Raises SettingFailedError, LimitExceededError, OutageError or StoppedError.
        """
        child = self._ready()
        fitting: float | None = None
        assert child.stdin is not None
        with suppress(BrokenPipeError):  # it has crashed: what it says, or does not, tells
            child.stdin.write(json.dumps(request).encode() + b"\n")
            child.stdin.flush()
        for line in self._lines(child):
            if line is None:
                self._watch(child, fitting)
                continue
            said = json.loads(line)
            if said == FITTING:
                fitting = monotonic()
            elif said == FITTED:
                fitting = None
            elif "outage" in said:
                self.end()  # what it had opened may be gone
                raise OutageError(said["outage"])
            elif "error" in said:
                raise SettingFailedError(said["error"])
            else:
                self._watch(child, None)
                return {**said, "memory_mb": self.memory_mb}
        self._watch(child, None)
        raise SettingFailedError(self._last_words(child))

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
                start_new_session=True,  # it is ended by us alone, not by an interrupt from the keyboard
                env=os.environ | {"OMP_NUM_THREADS": str(self.threads)},
            )
        return self._child

    def _lines(self, child: subprocess.Popen[bytes]) -> Iterator[bytes | None]:
        """Its lines, and None whenever it has said nothing for a while; ends when it does."""
        assert child.stdout is not None
        rest = b""
        while True:
            if not select.select([child.stdout], [], [], _LOOK)[0]:
                yield None
                continue
            said = os.read(child.stdout.fileno(), 65536)
            if not said:
                return
            *lines, rest = (rest + said).split(b"\n")
            yield from lines

    def _watch(self, child: subprocess.Popen[bytes], fitting: float | None) -> None:
        with suppress(psutil.Error):  # it has just ended
            self.memory_mb = max(self.memory_mb, psutil.Process(child.pid).memory_info().rss / 1e6)
        if self.stop():
            self.end()
            raise StoppedError
        most = self.limits.memory_mb
        if most is not None and self.memory_mb > most:
            self.end()
            excess = {"memory_mb": self.memory_mb / most - 1}
            raise LimitExceededError(f"it took {self.memory_mb:,.0f} MB of memory and may take {most:,.0f}", excess)
        longest = self.limits.fit_seconds
        if fitting is not None and longest is not None and monotonic() - fitting > 2 * longest:
            self.end()
            excess = {"fit_seconds": (monotonic() - fitting) / longest - 1}
            raise LimitExceededError(f"it fitted for {2 * longest:g} s and may for {longest:g}", excess)

    def _last_words(self, child: subprocess.Popen[bytes]) -> str:
        code, errors = child.wait(), self._errors
        assert errors is not None
        errors.seek(max(0, errors.seek(0, os.SEEK_END) - _LAST_WORDS))
        words = errors.read().decode(errors="replace").strip().splitlines()
        self.end()
        ended = f"signal {-code}" if code < 0 else f"code {code}"
        if code == -signal.SIGKILL:
            ended += " (out of memory, or killed by somebody)"
        return f"the process that tried it ended with {ended}{': ' + words[-1] if words else ''}"

"""A clock that jumps for some processes alone, by Debian's `faketime`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Final

import numpy as np
import pytest

MINUTE, HOUR, DAY = 60, 3600, 86_400
JUMPS: Final = (0, 2 * MINUTE, -2 * MINUTE, 5 * HOUR, -5 * HOUR, 3 * DAY, -3 * DAY, 40 * DAY, -40 * DAY)
"""Seconds between a wrong clock and the right one."""


def library() -> Path:
    """Return the library that processes load; skips the test where the package is missing."""
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not libraries:
        pytest.skip("wrong clocks need Debian's package `faketime`")
    return libraries[0]


class Clock:
    """The time of processes that were started with its environment. Durations go on as they are, as on a machine."""

    def __init__(self, folder: Path, random: np.random.Generator) -> None:
        self._file, self._random, self.jumps = folder / "clock", random, 0
        self.environment = {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
        self.set(0)

    def set(self, seconds: int) -> None:
        """Let it be so many seconds ahead."""
        draft = self._file.with_suffix(".new")
        draft.write_text(f"{seconds:+d}\n")
        draft.chmod(0o644)
        draft.replace(self._file)

    def jump(self) -> int:
        """Set it ahead or back, or right; returns the seconds that it is ahead."""
        seconds = int(self._random.choice(JUMPS))
        self.set(seconds)
        self.jumps += 1
        return seconds

    @contextmanager
    def jumping(self, longest: float) -> Iterator[None]:
        """Jump again and again while the block runs, every so many seconds at most."""
        over = Event()

        def go_on() -> None:
            while not over.wait(self._random.uniform(0.02, longest)):
                self.jump()

        thread = Thread(target=go_on)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.set(0)

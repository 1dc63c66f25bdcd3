"""Waiting for another process to get somewhere."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], seconds: float = 30, complaint: str = "it took too long") -> T:
    """Wait until something holds, looking less often with time; return it."""
    deadline, pause = time.monotonic() + seconds, 0.05
    while not (result := condition()):
        assert time.monotonic() < deadline, complaint
        time.sleep(pause)
        pause = min(0.5, 1.2 * pause)
    return result

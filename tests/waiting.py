"""Waiting for another process to get somewhere."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], seconds: float = 30, complaint: str = "it took too long") -> T:
    """Wait until something holds; return it."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, complaint
        time.sleep(0.05)
    return result

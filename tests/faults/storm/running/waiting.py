"""Waiting for another process to get somewhere."""

import time
from collections.abc import Callable
from typing import Any


def until(condition: Callable[[], Any], seconds: float, complaint: str) -> Any:
    """Wait until something holds; returns it."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, complaint
        time.sleep(0.1)
    return result

"""Ends a server without losing a request: answers first ask clients to close their connections, then it stops."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from serving.api.state import State

_SECONDS: Final = 1.0
"""Clients that send requests all the time learn within this time that they need another connection."""


@contextmanager
def drained(state: "State") -> Iterator[None]:
    """Delay SIGTERM meanwhile: until it takes effect, answers close their connections, and `/readyz` answers 503.

    uvicorn installs its handlers before the application starts. A second signal takes effect at once.
    """
    given, loop = signal.getsignal(signal.SIGTERM), asyncio.get_running_loop()

    def stop(number: int, frame: FrameType | None) -> None:
        if not callable(given):
            return
        if state.is_stopping:
            given(number, frame)
            return
        state.is_stopping = True
        loop.call_soon_threadsafe(loop.call_later, _SECONDS, given, number, None)

    if not callable(given):  # the server has no handler of its own: such as in a test
        yield
        return
    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, given)

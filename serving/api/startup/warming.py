"""Prepares a server before its first request, and ends it without losing one."""

import asyncio
import gc
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Final

from models.lists.rules.placement_config import Placement
from serving.answers.protocol import ListRequest, LiveScorer, LiveUnavailableError, Visitor
from serving.http import metrics
from serving.model.holder import ReloadFailure
from serving.model.loaded_model import LoadedModel
from serving.stores.lists import NOBODY

if TYPE_CHECKING:
    from serving.api.state import State

_SECONDS: Final = 5.0
"""A server starts after this time in any case."""
_YOUNG: Final = 1_000
"""Objects after which the youngest are collected: few enough for a pause of a millisecond."""
_OLDER: Final = 200
"""Collections of the youngest before older objects are looked at, too: answers in memory, mostly."""
_TURN_SECONDS: Final = 0.001
"""A thread that scores a list leaves the interpreter to the event loop after this time: other answers wait for it."""
_DRAIN_SECONDS: Final = 1.0
"""Clients that send requests all the time learn within this time that they need another connection."""


async def warm(live: LiveScorer, placements: Mapping[str, Placement]) -> None:
    """Score one list of each placement for users, which compiles its rules."""
    with suppress(TimeoutError, LiveUnavailableError):
        async with asyncio.timeout(_SECONDS):
            for name, placement in placements.items():
                if placement.subject == "user":
                    await live.recommend(ListRequest(name, Visitor(), placement.k), NOBODY)


def model_loaded(model: LoadedModel) -> None:
    """Show the loaded champion in place of earlier ones."""
    metrics.show_model(str(model.model_version or ""), model.digest[:12])


def reload_failed(failure: ReloadFailure) -> None:
    """Count a champion that was refused."""
    metrics.RELOAD_FAILURES.labels(failure.reason).inc()


def settle() -> None:
    """Bound how long answers wait for garbage collections, and for threads that score lists.

    What is loaded stays: a collection would look at all of it, for hundreds of milliseconds. So none comes before,
    and a few megabytes of garbage stay too.
    """
    gc.freeze()
    gc.enable()
    gc.set_threshold(_YOUNG, _OLDER, 50)
    sys.setswitchinterval(_TURN_SECONDS)


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
        loop.call_soon_threadsafe(loop.call_later, _DRAIN_SECONDS, given, number, None)

    if not callable(given):  # the server has no handler of its own: such as in a test
        yield
        return
    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, given)

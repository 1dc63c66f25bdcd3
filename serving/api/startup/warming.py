"""Prepares a server before its first request, whose answer would come too late otherwise."""

import asyncio
import gc
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from models.lists.rules.placement_config import Placement
from serving.answers.interfaces import LiveScorer, LiveUnavailableError
from serving.answers.request import ListRequest, Visitor
from serving.stores.standing import NOBODY

_SECONDS: Final = 5.0
"""A server starts after this time in any case."""
_YOUNG: Final = 1_000
"""Objects after which the youngest are collected: few enough for a pause of a millisecond."""
_OLDER: Final = 200
"""Collections of the youngest before older objects are looked at, too: answers in memory, mostly."""
_TURN_SECONDS: Final = 0.001
"""A thread that scores a list leaves the interpreter to the event loop after this time: other answers wait for it."""


async def warm(live: LiveScorer, placements: Mapping[str, Placement]) -> None:
    """Score one list of each placement for users, which compiles its rules."""
    with suppress(TimeoutError, LiveUnavailableError):
        async with asyncio.timeout(_SECONDS):
            for name, placement in placements.items():
                if placement.subject == "user":
                    await live.recommend(ListRequest(name, Visitor(), placement.k), NOBODY)


def settle() -> None:
    """Bound how long answers wait for garbage collections, and for threads that score lists.

    What is loaded stays: a collection would look at all of it, for hundreds of milliseconds. So none comes before,
    and a few megabytes of garbage stay too.
    """
    gc.freeze()
    gc.enable()
    gc.set_threshold(_YOUNG, _OLDER, 50)
    sys.setswitchinterval(_TURN_SECONDS)

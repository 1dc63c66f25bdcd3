"""Prepares live scoring before the first request, whose answer would come too late otherwise."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from models.lists.rules.placement_config import Placement
from serving.answers.interfaces import LiveScorer, LiveUnavailableError
from serving.answers.request import ListRequest, Visitor
from serving.stores.standing import NOBODY

_SECONDS: Final = 5.0
"""A server starts after this time in any case."""


async def warm(live: LiveScorer, placements: Mapping[str, Placement]) -> None:
    """Score one list of each placement for users, which compiles its rules."""
    with suppress(TimeoutError, LiveUnavailableError):
        async with asyncio.timeout(_SECONDS):
            for name, placement in placements.items():
                if placement.subject == "user":
                    await live.recommend(ListRequest(name, Visitor(), placement.k), NOBODY)

"""Reads the items that a visitor clicked lately."""

from collections.abc import Sequence
from typing import Any, Protocol

from serving.events import statements


class Reads(Protocol):
    """A pool of connections that runs a statement."""

    async def fetch(self, statement: str, /, *arguments: Any) -> Sequence[Any]:
        """Return the rows of a statement."""


async def latest_items(reader: Reads, user_key: str | None, session_key: str | None) -> tuple[str, ...]:
    """Return the items of a visitor's latest clicks, the latest last; empty without consent or clicks."""
    subjects = [key for key in (user_key, session_key) if key]
    if not subjects:
        return ()
    rows = await reader.fetch(statements.LATEST_ITEMS, subjects)
    clicked = [item for row in rows for item in row["items"]]
    return tuple(dict.fromkeys(reversed(clicked)))[::-1]

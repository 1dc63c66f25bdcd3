"""Reads the items that a visitor clicked lately."""

from collections.abc import Sequence
from typing import Any, Protocol

from serving.events import statements

Subjects = tuple[str | None, str | None]
"""The keys of a visitor's user and session."""


class Reads(Protocol):
    """A pool of connections that runs a statement."""

    async def fetch(self, statement: str, /, *arguments: Any) -> Sequence[Any]:
        """Return the rows of a statement."""


async def latest_items(reader: Reads, user_key: str | None, session_key: str | None) -> tuple[str, ...]:
    """Return the items of a visitor's latest clicks, the latest last; empty without consent or clicks."""
    return (await latest_items_of_all(reader, [(user_key, session_key)]))[0]


async def latest_items_of_all(reader: Reads, visitors: Sequence[Subjects]) -> list[tuple[str, ...]]:
    """Return for each visitor the items of the latest clicks."""
    subjects = [key for keys in visitors for key in keys if key]
    rows = await reader.fetch(statements.LATEST_ITEMS, subjects) if subjects else ()
    return [_distinct([item for row in rows if row["subject"] in keys for item in row["items"]]) for keys in visitors]


def _distinct(clicked: list[str]) -> tuple[str, ...]:
    """Return each item once, at its latest place."""
    return tuple(dict.fromkeys(reversed(clicked)))[::-1]

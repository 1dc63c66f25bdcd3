"""Reads the items that a visitor clicked or bought lately."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, Final, NamedTuple, Protocol

from models.columns import PURCHASE
from serving.events import statements

Subjects = tuple[str | None, str | None]
"""The keys of a visitor's user and session."""


class Reads(Protocol):
    """A pool of connections that runs a statement."""

    async def fetch(self, statement: str, /, *arguments: Any) -> Sequence[Any]:
        """Return the rows of a statement."""


class LatestItems(NamedTuple):
    """The items of a visitor's latest acts; empty without consent or acts."""

    items: tuple[str, ...] = ()
    """Each once, the latest last."""
    bought: frozenset[str] = frozenset()
    """Those among them with a purchase."""

    @classmethod
    def of(cls, acts: Sequence[tuple[str, str | None]]) -> "LatestItems":
        """Return the items of acts, each with the type of its event, in order of time."""
        items = tuple(dict.fromkeys(item for item, _ in reversed(acts)))[::-1]
        return cls(items, frozenset(item for item, kind in acts if kind == PURCHASE))


NO_ACTS: Final = LatestItems()


async def latest_items(reader: Reads, user_key: str | None, session_key: str | None) -> LatestItems:
    """Return the items of a visitor's latest acts."""
    return (await latest_items_of_all(reader, [(user_key, session_key)]))[0]


async def latest_items_of_all(reader: Reads, visitors: Sequence[Subjects]) -> list[LatestItems]:
    """Return for each visitor the items of the latest acts."""
    subjects = [key for keys in visitors for key in keys if key]
    rows = await reader.fetch(statements.LATEST_ITEMS, subjects) if subjects else ()
    # Profiles of earlier versions have no kinds.
    acts = [(row["subject"], act) for row in rows for act in zip_longest(row["items"], row["kinds"])]
    return [LatestItems.of([act for subject, act in acts if subject in keys]) for keys in visitors]

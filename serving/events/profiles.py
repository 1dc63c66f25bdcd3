"""Reads the items that a visitor clicked or bought lately."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Final, NamedTuple

from models.columns import PURCHASE
from serving.events import statements

if TYPE_CHECKING:
    from serving.stores.postgres import Postgres

Subjects = tuple[str | None, str | None]
"""The keys of a visitor's user and session."""


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


async def latest_items(reader: "Postgres", user_key: str | None, session_key: str | None) -> LatestItems:
    """Return the items of a visitor's latest acts."""
    return (await latest_items_of_all(reader, [(user_key, session_key)]))[0]


async def latest_items_of_all(reader: "Postgres", visitors: Sequence[Subjects]) -> list[LatestItems]:
    """Return for each visitor the items of the latest acts."""
    subjects = [key for keys in visitors for key in keys if key]
    rows = await reader.fetch(statements.LATEST_ITEMS, subjects) if subjects else ()
    # Profiles of earlier versions have no kinds.
    acts = [(row["subject"], act) for row in rows for act in zip_longest(row["items"], row["kinds"])]
    return [LatestItems.of([act for subject, act in acts if subject in keys]) for keys in visitors]

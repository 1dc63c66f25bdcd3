"""What is known of a visitor at the time of a request: by the last batch, and by the latest clicks."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from models.columns import PURCHASE
from serving.answers.protocol import Visitor
from serving.stores.refresher import Refresher, meanwhile
from serving.stores.shared_loads import PostgresDownError, SharedReads

if TYPE_CHECKING:
    from serving.stores.catalogue import Catalogue
    from serving.stores.changes import Changes
    from serving.stores.postgres import Postgres

_QUERY: Final = """
    SELECT nth, batch_id, known.user_key, hidden, due, clicks, traits
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS wanted (placement, user_key, nth),
        known_of_user(wanted.placement, wanted.user_key) AS known"""
"""For each request, the rows of a placement's live batch about everybody (without a user_key) and about one user."""
_SECONDS: Final = 2.0
"""The time until clicks are noticed without a notification."""
_OVERLAP: Final = 10.0
"""Seconds that are read again: a transaction may commit after a later one was read."""
_MOST: Final = 200_000
"""Visitors that are remembered; the oldest are forgotten first."""

_CLICKED: Final = """
SELECT subject, extract(epoch FROM updated_at)::float8, extract(epoch FROM expires_at - now())::float8
FROM session_profiles WHERE updated_at >= to_timestamp($1) AND expires_at > now() ORDER BY updated_at LIMIT $2
"""
_LATEST_ITEMS: Final = """
    SELECT subject, items, kinds FROM session_profiles WHERE subject = ANY($1::text[]) AND expires_at > now()
    ORDER BY updated_at"""
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

    def of_products(self, catalogue: "Catalogue") -> "LatestItems":
        """Return the items of variants in their place."""
        items = catalogue.products_of(reversed(self.items))[::-1]
        return LatestItems(items, frozenset(map(catalogue.product, self.bought)))


NO_ACTS: Final = LatestItems()


async def latest_items(reader: "Postgres", user_key: str | None, session_key: str | None) -> LatestItems:
    """Return the items of a visitor's latest acts."""
    return (await latest_items_of_all(reader, [(user_key, session_key)]))[0]


async def latest_items_of_all(reader: "Postgres", visitors: Sequence[Subjects]) -> list[LatestItems]:
    """Return for each visitor the items of the latest acts."""
    subjects = [key for keys in visitors for key in keys if key]
    rows = await reader.fetch(_LATEST_ITEMS, subjects) if subjects else ()
    # Profiles of earlier versions have no kinds.
    acts = [(row["subject"], act) for row in rows for act in zip_longest(row["items"], row["kinds"])]
    return [LatestItems.of([act for subject, act in acts if subject in keys]) for keys in visitors]


@dataclass(frozen=True)
class BatchFacts:
    """What a placement's live batch knows of a user from the lake."""

    batch_id: int | None = None
    """None: the batch is from before facts were published, or there is none."""
    withheld: tuple[str, ...] = ()
    """Items that the batch hides from everybody because of events."""
    hidden: tuple[str, ...] = ()
    due: tuple[str, ...] = ()
    clicks: tuple[str, ...] = ()
    """Of a user newer than the model."""
    traits: dict[str, str] = field(default_factory=dict)
    """Of a user newer than the model."""


NO_FACTS: Final = BatchFacts()


def batch_facts(rows: Sequence[Any]) -> BatchFacts:
    """Return the facts in rows about one user."""
    everybody = next((row for row in rows if not row["user_key"]), None)
    if everybody is None:
        return NO_FACTS
    batch_id, withheld = everybody["batch_id"], tuple(everybody["hidden"])
    own = next((row for row in rows if row["user_key"]), None)
    if own is None:
        return BatchFacts(batch_id, withheld)
    traits = own["traits"]
    return BatchFacts(
        batch_id,
        withheld,
        tuple(own["hidden"]),
        tuple(own["due"]),
        tuple(own["clicks"]),
        json.loads(traits) if isinstance(traits, str) else traits or {},
    )


class RecentClicks(Protocol):
    """The latest clicks of visitors with consent."""

    def maybe(self, visitor: Visitor) -> bool:
        """Return, without waiting, whether there may be any."""

    async def items(self, visitor: Visitor) -> LatestItems:
        """Return the items of the latest acts; none if they cannot be read in time."""


class StoredUsers:
    """Reads facts from the database, with the placement's live batch."""

    def __init__(self, postgres: "Postgres") -> None:
        """Read through these connections."""
        self._postgres = postgres
        self._facts = SharedReads(self._read, postgres.size)

    async def known(self, placement: str, user_key: str | None) -> BatchFacts | None:
        """Return the facts; None if the database does not answer in time."""
        try:
            return await self._facts.get((placement, user_key))
        except PostgresDownError:
            return None

    async def _read(self, keys: Sequence[tuple[str, str | None]]) -> list[BatchFacts]:
        rows = await self._postgres.fetch(_QUERY, *map(list, zip(*keys, strict=True)))
        by_key: list[list[Any]] = [[] for _ in keys]
        for row in rows:
            by_key[row["nth"] - 1].append(row)
        return [*map(batch_facts, by_key)]


class SessionClicks:
    """The visitors with clicks that have not expired, and their items."""

    def __init__(self, requests: "Postgres", background: "Postgres") -> None:
        """Read items through `requests`, and who clicked through `background`."""
        self._requests, self._background = requests, background
        self._until: dict[str, float] = {}
        self._read_until = 0.0

    @asynccontextmanager
    async def running(self, changes: "Changes") -> AsyncIterator[None]:
        """Follow clicks meanwhile."""
        refresher = Refresher(self.refresh, _SECONDS)
        changes.on("session_profiles", refresher.wake)
        async with meanwhile(refresher.run()):
            yield

    async def refresh(self) -> None:
        """Read who clicked since the last time. Raises PostgresDownError."""
        rows = await self._background.fetch(_CLICKED, self._read_until - _OVERLAP, _MOST)
        now = monotonic()
        for subject, at, seconds in rows:
            self._until.pop(subject, None)  # the latest come last
            self._until[subject] = now + seconds
            self._read_until = max(self._read_until, at)
        while len(self._until) > _MOST:
            del self._until[next(iter(self._until))]

    def maybe(self, visitor: Visitor) -> bool:
        """Return, without waiting, whether the visitor clicked lately."""
        return any(self._is_active(key) for key in (visitor.user_key, visitor.session_key))

    async def items(self, visitor: Visitor) -> LatestItems:
        """Return the items of the latest acts; none if they cannot be read in time."""
        active = (key if self._is_active(key) else None for key in (visitor.user_key, visitor.session_key))
        try:
            return await latest_items(self._requests, *active)
        except PostgresDownError:
            return NO_ACTS

    def _is_active(self, key: str | None) -> bool:
        until = None if key is None else self._until.get(key)
        return until is not None and until > monotonic()

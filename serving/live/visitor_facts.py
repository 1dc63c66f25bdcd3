"""What is known of a visitor at the time of a request: by the last batch, and by the latest clicks."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from serving.answers.request import Visitor
from serving.events.profiles import NO_ACTS, LatestItems
from serving.stores.database.errors import PostgresDownError
from serving.stores.database.shared_reads import SharedReads

if TYPE_CHECKING:
    from serving.stores.database.postgres import Postgres

_QUERY: Final = """
    SELECT nth, batch_id, known.user_key, hidden, due, clicks, traits
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS wanted (placement, user_key, nth),
        known_of_user(wanted.placement, wanted.user_key) AS known"""
"""For each request, the rows of a placement's live batch about everybody (without a user_key) and about one user."""


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


class UserFacts(Protocol):
    """Reads what batches know of users."""

    async def known(self, placement: str, user_key: str | None) -> BatchFacts | None:
        """Return the facts; None if the database does not answer in time."""


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


class NoUserFacts:
    """A host without a database."""

    async def known(self, placement: str, user_key: str | None) -> BatchFacts | None:  # noqa: ARG002
        """Return that nothing is known."""
        return NO_FACTS


class NoClicks:
    """A host that stores no sessions."""

    def maybe(self, visitor: Visitor) -> bool:  # noqa: ARG002
        """Return that there are none."""
        return False

    async def items(self, visitor: Visitor) -> LatestItems:  # noqa: ARG002
        """Return none."""
        return NO_ACTS

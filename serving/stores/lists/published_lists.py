"""Reads published lists: each statement reads the lists of all requests that wait at that moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final

from serving.stores.database.postgres import Postgres
from serving.stores.database.shared_reads import SharedReads
from serving.stores.standing import NOBODY, Standing

_STATEMENT: Final = "SELECT * FROM served_lists($1, $2)"
FIRST: Final = (_STATEMENT, [""], [""])
"""Lets a new connection plan the statement."""
_SMALL: Final = 1e-3
Key = tuple[str, str]
"""Placement and subject."""


@dataclass(frozen=True, slots=True)
class StoredList:
    """The published list of one subject, as codes of its batch, and the standing of the user."""

    standing: Standing
    batch_id: int | None
    """The live batch of the placement; None if nothing is published."""
    model_version: int | None
    items: Sequence[int] | None
    """None if the batch has no list for the subject, or if its user does not consent."""
    scores: Sequence[float]
    reasons: Sequence[int]
    read_at: float
    """When the statement began, in epoch seconds of the database's clock."""
    live: "ScoredList | None" = None
    """The list that was scored after an event, which counts in place of that of the batch."""


@dataclass(frozen=True, slots=True)
class ScoredList:
    """A list that a consumer stored, under the present rules."""

    model_version: int
    entries: tuple[tuple[str, float, str], ...]
    """Item, score and reason, best first."""


class PublishedLists:
    """Reads lists with at most one statement per list at a time, and few statements at all under load."""

    def __init__(self, postgres: Postgres) -> None:
        """Read through these connections, at most half of them at a time."""
        self._postgres = postgres
        self._lists = SharedReads(self._read, postgres.size)

    async def read(self, placement: str, subject: str) -> StoredList:
        """Return the live list of a subject. Raises PostgresDownError."""
        return await self._lists.get((placement, subject))

    async def _read(self, keys: Sequence[Key]) -> list[StoredList]:
        rows = await self._postgres.fetch(_STATEMENT, *map(list, zip(*keys, strict=True)))
        return [_stored_list(row) for row in sorted(rows, key=itemgetter("nth"))]


def _stored_list(row: Any) -> StoredList:
    consent, items = row["consent"], row["items"]
    consented = bool(consent) and not row["suppressed"]
    excluded = row["excluded"]
    standing = NOBODY if consent is None and not excluded else Standing(consent is not None, consented, tuple(excluded))
    return StoredList(
        standing,
        row["batch_id"],
        row["model_version"],
        items,
        row["scores"] or (),
        row["reasons"] or (),
        row["read_at"],
        None if row["live_items"] is None else ScoredList(row["live_model_version"], _live_entries(row)),
    )


def _live_entries(row: Any) -> tuple[tuple[str, float, str], ...]:
    scores = map(rounded, row["live_scores"])
    return tuple(zip(row["live_items"], scores, row["live_reasons"], strict=True))


def rounded(score: float) -> float:
    """Return a 32-bit number without the digits that it does not have."""
    return round(score, 7) if abs(score) > _SMALL else score

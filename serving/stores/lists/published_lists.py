"""Reads published lists: each statement reads the lists of all requests that wait at that moment."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from serving.stores.database.postgres import Postgres
from serving.stores.standing import NOBODY, Standing

_STATEMENT: Final = "SELECT * FROM served_lists($1, $2)"
FIRST: Final = (_STATEMENT, [""], [""])
"""Lets a new connection plan the statement."""
_MOST: Final = 64
"""Lists per statement."""

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
        self._free = max(1, postgres.size // 2)
        self._waiting: dict[Key, list[asyncio.Future[StoredList]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def read(self, placement: str, subject: str) -> StoredList:
        """Return the live list of a subject. Raises PostgresDownError."""
        future: asyncio.Future[StoredList] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault((placement, subject), []).append(future)
        self._start()
        return await future

    def _start(self) -> None:
        if self._free and self._waiting:
            self._free -= 1
            task = asyncio.create_task(self._read_waiting())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _read_waiting(self) -> None:
        """Read what waits, until nothing waits."""
        try:
            while self._waiting:
                keys = list(self._waiting)[:_MOST]
                futures = [self._waiting.pop(key) for key in keys]
                try:
                    rows = await self._postgres.fetch(_STATEMENT, *map(list, zip(*keys, strict=True)))
                    lists = [(row["nth"] - 1, _stored_list(row)) for row in rows]
                except Exception as error:  # whatever it is: a request would wait for ever
                    for future in chain.from_iterable(futures):
                        if not future.done():
                            future.set_exception(error)
                    continue
                for place, stored in lists:
                    for future in futures[place]:
                        if not future.done():  # its request may be gone
                            future.set_result(stored)
        finally:
            self._free += 1


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

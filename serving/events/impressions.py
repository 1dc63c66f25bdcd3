"""Logs the answers that visitors were shown: durable within a second, without delaying the answer."""

import asyncio
import contextlib
import hashlib
import secrets
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from serving.events.clock import CLOCK
from serving.events.message import Message, RefusedMessageError
from serving.events.spool import SpoolFullError

if TYPE_CHECKING:
    from serving.events.writer import EventWriter

_PAUSE: Final = 0.2
_GROUP: Final = 200
"""Answers of one message: they are serialised at once, and other answers wait meanwhile."""
_MOST_WAITING: Final = 100_000


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """An answer with its place on the page, as it was given."""

    recommendation_id: str
    placement: str
    items: Sequence[str]
    """Best first."""
    source: str
    key_version: int
    user_key: str | None = None
    session_key: str | None = None
    first_position: int = 1
    """The rank of the first item: above 1 on later pages."""
    batch_id: int | None = None
    model_version: int | None = None
    variant: str | None = None
    propensity: float | None = None
    consent: bool | None = None
    """The consent that the request states; None if it states none."""
    shown_at: datetime = field(default_factory=CLOCK.now)


_COLUMNS: Final = tuple(one.name for one in fields(ShownAnswer) if one.name != "key_version")
"""A message has one version of the pseudonym keys."""


def message_of(answers: Sequence[ShownAnswer]) -> Message:
    """Return the message of answers whose pseudonyms have the same version: a column of values for each field.

    One row for many answers costs the database a fraction of a row for each.
    """
    rows = map(attrgetter(*_COLUMNS), answers)
    payload = dict(zip(_COLUMNS, zip(*rows, strict=True), strict=True))
    return Message(secrets.token_hex(16), "answers", payload, answers[-1].shown_at, answers[0].key_version)


def is_logged(recommendation_id: str, share: float) -> bool:
    """Return whether an answer is in the sample of this share; the same id always gives the same result."""
    if share >= 1.0:
        return True
    number = int.from_bytes(hashlib.blake2b(recommendation_id.encode(), digest_size=8).digest(), "big")
    return number < share * 2**64


@dataclass
class ImpressionLog:
    """Collects answers in memory and stores them several times a second, in groups."""

    writer: "EventWriter"
    share: float = 1.0
    """The share of answers that is logged."""
    _waiting: "deque[ShownAnswer]" = field(default_factory=deque)
    _task: "asyncio.Task[None] | None" = None

    async def start(self) -> None:
        """Start to store answers."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Store the answers that wait, and stop; close the writer after that."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._flush()

    def log(self, shown: ShownAnswer) -> None:
        """Log an answer. It returns at once."""
        counts = self.writer.counts.impressions
        if not shown.items:
            return
        if not is_logged(shown.recommendation_id, self.share):
            counts["sampled_out"] += 1
        elif len(self._waiting) >= _MOST_WAITING:
            counts["dropped"] += 1
        else:
            self._waiting.append(shown)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_PAUSE)
            # Shielded, so that `close` does not cut a group between memory and disk.
            await asyncio.shield(self._flush())

    async def _flush(self) -> None:
        while self._waiting:
            group = [self._waiting.popleft() for _ in range(min(_GROUP, len(self._waiting)))]
            for _, together in groupby(group, attrgetter("key_version")):
                with contextlib.suppress(SpoolFullError, RefusedMessageError):  # the writer counts them
                    await self.writer.persist([message_of(list(together))], self.writer.counts.impressions)

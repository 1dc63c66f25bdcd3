"""Answers of this process: while they are fresh they answer without any store, later they are the last good ones."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from time import monotonic
from typing import Final, NamedTuple

from models.lists.rules.layer.rule_layer import RuleLayer
from serving.answers.protocol import Answer

_MOST_BYTES: Final = 72 << 20
Consents = Callable[[str | None, float], bool]
"""Returns whether nothing is known to have changed for a user since a moment of the database's clock."""
_OVERHEAD: Final = 1_000
"""Bytes of an answer beside its items."""
_BYTES_PER_LETTER: Final = 1.1
"""An answer also holds the ids of its items."""
_LAST_GOOD_SECONDS: Final = 86_400.0


class State(NamedTuple):
    """What an answer was made from, by numbers: an answer must not keep an old catalogue in memory."""

    batch_id: int | None
    best: int
    """The number of the best sellers, which are built again for each champion."""
    catalogue: int
    """The generation of the catalogue."""
    rules: RuleLayer
    """The rules of operators."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """An answer, and how long it may be used."""

    answer: Answer
    """With the source `cache`."""
    state: State
    user_key: str | None
    read_at: float
    """When the user's consent was read, by the database's clock."""
    fresh_until: float
    made_at: float
    size: int
    """Bytes in memory, estimated."""


class RememberedAnswers:
    """The answers that were used last, by request, up to a number of bytes."""

    def __init__(self, consents: Consents, fresh_seconds: float, most_bytes: int = _MOST_BYTES) -> None:
        """Start empty. `consents` decides whether an answer may be shown again."""
        self._consents, self._fresh_seconds, self._most, self._bytes = consents, fresh_seconds, most_bytes, 0
        self._answers: OrderedDict[Hashable, Remembered] = OrderedDict()

    def fresh(self, key: Hashable, state: State) -> Answer | None:
        """Return a fresh answer of the present state."""
        found = self._answers.get(key)
        if found is None or found.fresh_until <= monotonic():
            return None
        if found.state != state or not self._consents(found.user_key, found.read_at):
            return None
        self._answers.move_to_end(key)
        return found.answer

    def last_good(self, key: Hashable) -> Remembered | None:
        """Return the last answer to a request, of any state, unless consent may have been withdrawn since."""
        found = self._answers.get(key)
        if (
            found is None
            or found.made_at + _LAST_GOOD_SECONDS <= monotonic()
            or not self._consents(found.user_key, found.read_at)
        ):
            return None
        return found

    def remember(
        self, key: Hashable, answer: Answer, state: State, user_key: str | None, read_at: float, letters: int = 0
    ) -> None:
        """Keep an answer, and forget those that were not used for longest. `letters` are those of the key."""
        now = monotonic()
        size = _OVERHEAD + letters + int(_BYTES_PER_LETTER * len(answer.items_json))
        self._drop(key)
        cached = replace(answer, source="cache")
        self._answers[key] = Remembered(cached, state, user_key, read_at, now + self._fresh_seconds, now, size)
        self._bytes += size
        while self._bytes > self._most:
            self._drop(next(iter(self._answers)))

    def forget(self, users: frozenset[str] | None) -> None:
        """Drop the answers of these users; None stands for all users."""
        gone = [
            key
            for key, found in self._answers.items()
            if found.user_key is not None and (users is None or found.user_key in users)
        ]
        for key in gone:
            self._drop(key)

    def _drop(self, key: Hashable) -> None:
        found = self._answers.pop(key, None)
        if found is not None:
            self._bytes -= found.size

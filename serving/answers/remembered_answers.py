"""Answers of this process: while they are fresh they answer without any store, later they are the last good ones."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, replace
from time import monotonic
from typing import Final

from serving.answers.answer import Answer
from serving.stores.catalogue import Catalogue
from serving.stores.consent_changes import ConsentChanges

_MOST: Final = 8_000
"""Answers of 20 items take about 9 kB each."""
_LAST_GOOD_SECONDS: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class State:
    """What an answer was made from; an answer of another state is not fresh."""

    batch_id: int | None
    best: object
    """The best sellers, which are built again for each champion."""
    catalogue: Catalogue

    def is_current(self, batch_id: int | None, best: object, catalogue: Catalogue) -> bool:
        """Return whether nothing has changed since."""
        return self.catalogue is catalogue and self.batch_id == batch_id and self.best is best


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

    def may_show(self, changes: ConsentChanges) -> bool:
        """Return whether the user's consent and exclusions are as they were."""
        if self.user_key is None:
            return True
        return changes.connected and changes.unchanged_since(self.user_key, self.read_at)


class RememberedAnswers:
    """The answers that were used last, by request."""

    def __init__(self, changes: ConsentChanges, fresh_seconds: float, most: int = _MOST) -> None:
        """Start empty."""
        self._changes, self._fresh_seconds, self._most = changes, fresh_seconds, most
        self._answers: OrderedDict[Hashable, Remembered] = OrderedDict()

    def fresh(self, key: Hashable, batch_id: int | None, best: object, catalogue: Catalogue) -> Answer | None:
        """Return a fresh answer of the present state."""
        found = self._answers.get(key)
        if found is None or found.fresh_until <= monotonic():
            return None
        if not found.state.is_current(batch_id, best, catalogue) or not found.may_show(self._changes):
            return None
        self._answers.move_to_end(key)
        return found.answer

    def last_good(self, key: Hashable) -> Answer | None:
        """Return the last answer to a request, of any state, unless consent may have been withdrawn since."""
        found = self._answers.get(key)
        if found is None or found.made_at + _LAST_GOOD_SECONDS <= monotonic() or not found.may_show(self._changes):
            return None
        return found.answer

    def remember(self, key: Hashable, answer: Answer, state: State, user_key: str | None, read_at: float) -> None:
        """Keep an answer, and forget those that were not used for longest."""
        now = monotonic()
        cached = replace(answer, source="cache")
        self._answers[key] = Remembered(cached, state, user_key, read_at, now + self._fresh_seconds, now)
        self._answers.move_to_end(key)
        while len(self._answers) > self._most:
            self._answers.popitem(last=False)

    def forget(self, users: frozenset[str] | None) -> None:
        """Drop the answers of these users; None stands for all users."""
        gone = [
            key
            for key, found in self._answers.items()
            if found.user_key is not None and (users is None or found.user_key in users)
        ]
        for key in gone:
            del self._answers[key]

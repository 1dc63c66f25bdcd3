"""Defines the standing of a user: consent, suppression and exclusions; and remembers which users changed, and when."""

from collections.abc import Set
from dataclasses import dataclass
from typing import Final, NamedTuple

_KEPT_SECONDS: Final = 3600.0
"""Longer than any cached value lives."""
_MOST: Final = 200_000
_UNDATED: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Standing:
    """The consent and the exclusions of a user at one moment of the database."""

    known: bool
    """Whether the user was ever ingested."""
    consented: bool
    """Whether personal answers are allowed: consent is given, and the user is not suppressed."""
    excluded: tuple[str, ...] = ()
    """Kind and value of each exclusion, such as `item:1082185` or `category:GROCERY|TEA`."""


NOBODY: Final = Standing(known=False, consented=False)
"""The standing of visitors without an account, and of users that the database does not know."""


class Listed(NamedTuple):
    """One subject's published list, and the standing of the user at that moment."""

    standing: Standing
    batch_id: int | None
    """None for a list that a consumer scored after an event: it was made under the present rules."""
    model_version: int | None
    entries: tuple[tuple[str, float, str], ...] | None
    """Item, score and reason, best first; None if there is no list for the subject."""
    read_at: float
    """Epoch seconds of the database's clock."""


class ChangedMeanwhileError(Exception):
    """A user changed again and again while the list was read."""


class UserChanges:
    """Changes of users since the process began to listen; all moments are of the database's clock."""

    def __init__(self) -> None:
        """Believe no value until the clock was read."""
        self._since = _UNDATED
        self._latest = 0.0
        self._changed: dict[str, float] = {}
        """When each user changed last, the oldest first."""
        self._undated: set[str] = set()

    def unchanged_since(self, user_key: str, read_at: float) -> bool:
        """Return whether a value of a user, read at that moment, is from after all known changes."""
        return read_at > self._since and read_at > self._changed.get(user_key, 0.0)

    def changed(self, user_key: str) -> None:
        """Doubt all values of the user until the change is dated."""
        self._changed.pop(user_key, None)
        self._changed[user_key] = _UNDATED
        self._undated.add(user_key)

    def pending(self) -> frozenset[str]:
        """Return the users whose changes are to be dated, once."""
        users = frozenset(self._undated)
        self._undated.clear()
        return users

    def date(self, users: Set[str], now: float, *, restarted: bool = False) -> None:
        """Date changes that were notified before the clock was read. `restarted`: earlier ones were missed.

        If the clock went back, values from before have later moments than new ones, so none of them is believed.
        """
        if restarted or now < self._latest:
            self._since = max(now, self._latest)
        if restarted:
            self._changed = dict.fromkeys(self._undated, _UNDATED)
        self._latest = max(now, self._latest)
        for user_key in users - self._undated:
            self._changed.pop(user_key, None)
            self._changed[user_key] = self._latest
        self._forget()

    def _forget(self) -> None:
        """Drop what no cached value is older than. If there are too many, doubt all values of that time instead."""
        while self._changed:
            user_key, moment = next(iter(self._changed.items()))
            recent = moment >= self._latest - _KEPT_SECONDS
            if moment == _UNDATED or (recent and len(self._changed) <= _MOST):
                break
            del self._changed[user_key]
            if recent:
                self._since = max(self._since, moment)

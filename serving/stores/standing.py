"""Defines the standing of a user, which is consent, suppression and exclusions, and a list that was read with it."""

from dataclasses import dataclass
from typing import Final, NamedTuple


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

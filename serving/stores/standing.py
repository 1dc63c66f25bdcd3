"""What the database allows for one user: consent, suppression and exclusions."""

from dataclasses import dataclass
from typing import Final


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

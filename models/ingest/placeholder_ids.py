"""List words that programs write for an unknown id: such an id stands for no user or item."""

from collections.abc import Iterable
from typing import Final

_UNKNOWN: Final = (
    "null",
    "undefined",
    "none",
    "nil",
    "nan",
    "n/a",
    "(not set)",
    "unknown",
    "[object Object]",
    "-",
    "?",
)
_NO_UUID: Final = "00000000-0000-0000-0000-000000000000"


def spellings(words: Iterable[str]) -> list[str]:
    """Return the words unchanged and in lower, upper and title case, each once."""
    return list(
        dict.fromkeys(spelling for word in words for spelling in (word, word.lower(), word.upper(), word.title()))
    )


PEOPLE: Final = tuple(spellings((*_UNKNOWN, _NO_UUID, "anonymous", "guest", "na", "0", "-1")))
"""Ids that no user has. An empty id is missing already; a mapping declares test accounts."""
ITEMS: Final = tuple(spellings((*_UNKNOWN, _NO_UUID)))
"""Ids that no item has. Unlike a user, an item may have the id 0."""

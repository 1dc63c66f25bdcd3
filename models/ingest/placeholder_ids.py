"""Words that programs write where an id is unknown: who has one of them as an id is nobody in particular."""

from collections.abc import Iterable
from typing import Final

_NOTHING: Final = (
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
    """The words as they are and in lower, upper and title case, each once."""
    return list(dict.fromkeys(said for word in words for said in (word, word.lower(), word.upper(), word.title())))


PEOPLE: Final = tuple(spellings((*_NOTHING, _NO_UUID, "anonymous", "guest", "na", "0", "-1")))
"""Ids that no user has. An empty one is missing already; test accounts are for who knows them to declare."""
ITEMS: Final = tuple(spellings((*_NOTHING, _NO_UUID)))
"""Ids that no item has. Unlike a user, an item may well be called 0."""

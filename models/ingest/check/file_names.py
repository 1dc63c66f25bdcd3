"""Shorten file locations to names for people. A name never contains the password of an address."""

from collections.abc import Sequence
from typing import Final

_MOST_NAMES: Final = 3
"""The largest number of names in a sentence."""


def file_name(location: str) -> str:
    """Return the base name of a path or address, without a user, a password or options."""
    scheme, is_address, path = location.rpartition("://")
    if not is_address or "/" in scheme:
        return location.rpartition("/")[2]
    return path.partition("?")[0].partition("/")[2].rpartition("/")[2]


def some_names(locations: Sequence[str]) -> str:
    """Return the names of the first files and how many more there are: "a.csv, b.csv, c.csv and 14 more"."""
    names = ", ".join(file_name(location) for location in locations[:_MOST_NAMES])
    return f"{names} and {len(locations) - _MOST_NAMES} more" if len(locations) > _MOST_NAMES else names

"""Names of files for people, from where they are. A name never repeats what an address may hold of a password."""

from collections.abc import Sequence
from typing import Final

_NAMED: Final = 3
"""Files that a sentence names."""


def file_name(location: str) -> str:
    """Return the base name of a path or address, without a user, a password or options."""
    scheme, is_address, rest = location.rpartition("://")
    if not is_address or "/" in scheme:
        return location.rpartition("/")[2]
    return rest.partition("?")[0].partition("/")[2].rpartition("/")[2]


def some_names(locations: Sequence[str]) -> str:
    """Return the names of the first files and how many more there are: "a.csv, b.csv, c.csv and 14 more"."""
    names = ", ".join(file_name(location) for location in locations[:_NAMED])
    return f"{names} and {len(locations) - _NAMED} more" if len(locations) > _NAMED else names

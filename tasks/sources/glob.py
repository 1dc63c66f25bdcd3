"""Matches patterns of paths, of folders and of keys of an object store: `*`, `?`, `[…]`, and `**` for any depth.

A pattern that matches a folder matches all files below it. Patterns are matched name by name, so that a search visits
only folders that can have matches.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import reduce
from typing import Final

Segments = tuple[str, ...]
State = frozenset[Segments]
"""The remaining patterns, for every way to match the names so far. An empty pattern is a match."""

_ANY_DEPTH: Final = "**"
_MATCH: Final[Segments] = ()
_BELOW: Final[Segments] = ("/",)
"""A folder above matches."""


def segments(pattern: str) -> Segments:
    """Return a pattern as segments. `.` and a final `**` are dropped, because a folder matches all files below it."""
    pieces = [piece for piece in pattern.split("/") if piece not in ("", ".")]
    while pieces and pieces[-1] == _ANY_DEPTH:
        pieces.pop()
    return tuple(pieces)


def is_pattern(name: str) -> bool:
    """Return whether a name may match several names."""
    return not frozenset("*?[").isdisjoint(name)


def begin(pattern: Segments) -> State:
    """Return the state before the first name."""
    return _opened({pattern or _BELOW})


def step(state: State, name: str) -> State:
    """Return the state after one more name; empty if no file below it can match."""
    after: set[Segments] = set()
    for remaining in state:
        if remaining in (_MATCH, _BELOW):
            after.add(_BELOW)
        elif remaining[0] == _ANY_DEPTH:
            after.add(remaining)
        elif name == remaining[0] or fnmatchcase(name, remaining[0]):
            after.add(remaining[1:])
    return _opened(after)


def takes(state: State, name: str, endings: Iterable[str]) -> bool:
    """Return whether the last name is a matching file: by the pattern itself, or in a folder by its ending."""
    return _MATCH in state or (_BELOW in state and name.lower().endswith(tuple(endings)))


def names(pattern: str, path: str) -> bool:
    """Return whether a pattern, relative to any folder, matches a path."""
    state = reduce(step, path.split("/"), begin((_ANY_DEPTH, *segments(pattern))))
    return not state.isdisjoint((_MATCH, _BELOW))


def hidden(name: str) -> bool:
    """Return whether a file is a marker or leftover of an export: `_SUCCESS`, `_temporary`, `.part.crc`."""
    return name.startswith(("_", "."))


def _opened(state: set[Segments]) -> State:
    """Return the state that also matches every `**` with no folder."""
    opened = set(state)
    for remaining in state:
        while remaining and remaining[0] == _ANY_DEPTH:
            remaining = remaining[1:]
            opened.add(remaining)
    return frozenset(opened)

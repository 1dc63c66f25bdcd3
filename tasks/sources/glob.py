"""Patterns of paths, alike for folders and for keys of an object store: `*`, `?`, `[…]`, and `**` for any depth.

What a pattern says of a folder holds for all that is below it. It is read one name after the other, so that a search
looks only where something can be.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final

Segments = tuple[str, ...]
State = frozenset[Segments]
"""What is still to come, in every way in which the names so far can be read. Nothing to come: they match."""

_ANY_DEPTH: Final = "**"
_MET: Final[Segments] = ()
_BELOW: Final[Segments] = ("/",)
"""A folder above did match."""


def segments(pattern: str) -> Segments:
    """A pattern in pieces. `.` and a `**` at the end say nothing: a folder stands for all that is below it."""
    pieces = [piece for piece in pattern.split("/") if piece not in ("", ".")]
    while pieces and pieces[-1] == _ANY_DEPTH:
        pieces.pop()
    return tuple(pieces)


def is_pattern(name: str) -> bool:
    """Whether it may stand for several names."""
    return not frozenset("*?[").isdisjoint(name)


def begin(pattern: Segments) -> State:
    """Before the first name."""
    return _opened({pattern or _BELOW})


def step(state: State, name: str) -> State:
    """After one more name; empty when nothing below it can match."""
    after: set[Segments] = set()
    for left in state:
        if left in (_MET, _BELOW):
            after.add(_BELOW)
        elif left[0] == _ANY_DEPTH:
            after.add(left)
        elif name == left[0] or fnmatchcase(name, left[0]):
            after.add(left[1:])
    return _opened(after)


def takes(state: State, name: str, endings: Iterable[str]) -> bool:
    """Whether the file `name`, read last, is meant: by the pattern itself, or below a folder by its ending."""
    return _MET in state or (_BELOW in state and name.lower().endswith(tuple(endings)))


def names(pattern: str, path: str) -> bool:
    """Whether a pattern, relative to any folder, is for the file of that path."""
    state = begin((_ANY_DEPTH, *segments(pattern)))
    for name in path.split("/"):
        state = step(state, name)
    return not state.isdisjoint((_MET, _BELOW))


def hidden(name: str) -> bool:
    """Markers and leftovers of the programs that write exports: `_SUCCESS`, `_temporary`, `.part.crc`."""
    return name.startswith(("_", "."))


def _opened(state: set[Segments]) -> State:
    """The state with every `**` read as no folder at all, too."""
    found = set(state)
    for left in state:
        while left and left[0] == _ANY_DEPTH:
            left = left[1:]
            found.add(left)
    return frozenset(found)

"""Remembers the last good answers that depend on nobody."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

_Value = TypeVar("_Value")
_MOST: Final = 5_000


class Remembered(Generic[_Value]):
    """The answers that were used last, up to a number."""

    def __init__(self, most: int = _MOST) -> None:
        """Start empty."""
        self._most, self._values = most, OrderedDict[Hashable, _Value]()

    def put(self, key: Hashable, value: _Value) -> None:
        """Remember an answer in place of an earlier one."""
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._most:
            self._values.popitem(last=False)

    def get(self, key: Hashable) -> _Value | None:
        """Return the last answer."""
        return self._values.get(key)

"""Items that visitors hid a moment ago, before the database confirms it."""

from collections import OrderedDict
from typing import Final

from serving.answers.request import Visitor

_MOST: Final = 10_000
_MOST_OF_ONE: Final = 1_000
"""Beyond this number of one visitor's items the earlier ones are forgotten: the database has them by then."""
_NOTHING: Final[frozenset[str]] = frozenset()


class HiddenItems:
    """The hidden items of the visitors of this process who hid something last."""

    def __init__(self, most: int = _MOST) -> None:
        """Start empty."""
        self._most = most
        self._items: OrderedDict[str, frozenset[str]] = OrderedDict()

    def add(self, visitor: Visitor, item_id: str) -> None:
        """Hide an item from a user, or from a session without a user."""
        key = visitor.user_key or visitor.session_key
        if key is None:
            return
        known = self._items.get(key, _NOTHING)
        self._items[key] = (known if len(known) < _MOST_OF_ONE else _NOTHING) | {item_id}
        self._items.move_to_end(key)
        if len(self._items) > self._most:
            self._items.popitem(last=False)

    def of(self, visitor: Visitor) -> frozenset[str]:
        """Return the visitor's hidden items."""
        if not self._items:
            return _NOTHING
        key = visitor.user_key or visitor.session_key
        return _NOTHING if key is None else self._items.get(key, _NOTHING)

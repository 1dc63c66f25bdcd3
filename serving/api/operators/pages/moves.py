"""States what a draft changes about the places of a list, and which rule is the cause."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from models.lists.rules.layer.rule_layer import RuleLayer
from serving.stores.catalogue import Item

if TYPE_CHECKING:
    from serving.operations.rule_changes import Preview

Moves = Mapping[str, "Move"]
"""By item."""


class Move(NamedTuple):
    """What happens to an item of a list."""

    words: str
    cause: str = ""
    """The rule about the item, in words; empty if rules about others merely shift it."""


def moves(preview: "Preview", before: RuleLayer, after: RuleLayer, items: Mapping[str, Item]) -> tuple[Moves, Moves]:
    """Return what left the current list, and what is new on the edited list or has another place there.

    The rules are those of one placement, before the draft and after it.
    """
    if preview.edited is None:
        return {}, {}
    old, new = ({item.item_id: item.rank for item in one.items} for one in (preview.current, preview.edited))

    def move(item: str) -> Move:
        return Move(_words(old.get(item), new.get(item)), _cause(before, after, item, items.get(item)))

    left = {item: move(item) for item in old if item not in new}
    return left, {item: move(item) for item, rank in new.items() if old.get(item) != rank}


def _words(before: int | None, now: int | None) -> str:
    if before is None or now is None:
        return "new" if before is None else "left out"
    return f"{'up' if now < before else 'down'} from {before}"


def _cause(before: RuleLayer, after: RuleLayer, item: str, known: Item | None) -> str:
    """Return what the draft changes about an item."""
    was, now = ({pin.item: pin.place for pin in layer.pins}.get(item) for layer in (before, after))
    if was != now:
        return "no longer pinned" if now is None else f"pinned to place {now}"
    if (item in after.hidden) != (item in before.hidden):
        return "hidden" if item in after.hidden else "no longer hidden"
    category, brand = (known.category or "", known.brand or "") if known else ("", "")
    usual, factor = (layer.factors.factor(item, category, brand) for layer in (before, after))
    if usual == factor:
        return ""
    if factor == 1:
        return "no longer boosted" if usual > 1 else "no longer shown less"
    return f"{'boosted' if factor > usual else 'shown less'} by {factor:g}"

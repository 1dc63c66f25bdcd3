"""Compiles rules of operators into the rules of a placement, so that one list builder applies both."""

from models.lists.rules.layer.rule_layer import RuleLayer
from models.lists.rules.placement_config import Placement
from models.lists.rules.rule_config import Pin


def layered(placement: Placement, active: RuleLayer) -> Placement:
    """Return the placement under the rules of operators that count for it; the same object without any.

    A pin of operators replaces the file's pins of its place and of its item. Hidden items are excluded. Factors are
    multiplied. A pin beyond the list has no effect: the file may have been changed after the pin was checked.
    """
    if not active:
        return placement
    rules = placement.rules
    added = {
        "pin": list(pins(placement, active)),
        "exclude_items": sorted({*rules.exclude_items, *active.hidden}),
        "boost": [*rules.boost, *(boost.compiled for boost in active.boosts)],
    }
    return placement.model_copy(update={"rules": rules.model_copy(update=added)})


def pins(placement: Placement, active: RuleLayer) -> tuple[Pin, ...]:
    """Return the pins that count, by their places."""
    own = {pin.place: pin.item for pin in active.pins if pin.place <= placement.k}
    items = frozenset(own.values())
    others = {pin.place: pin.item for pin in placement.rules.pin if pin.item not in items | active.hidden}
    return tuple(Pin(item=item, place=place) for place, item in sorted((others | own).items()))

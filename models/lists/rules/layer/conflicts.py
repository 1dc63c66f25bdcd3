"""Finds contradictions between the placements file and the rules of operators."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.lists.rules.item_attributes import ItemAttributes
from models.lists.rules.layer.rule_layer import AnyRule, PinnedItem, RuleLayer
from models.lists.rules.placement_config import Placement
from models.primitives.vocabulary import index_of

_Found = Iterator[tuple[str, AnyRule | None]]


class Conflict(NamedTuple):
    """A rule of operators that the file contradicts, or that has no effect."""

    placement: str
    detail: str
    rule: AnyRule | None = None
    """The rule; None for a conflict of several rules."""


def conflicts(
    file: Mapping[str, Placement], layer: RuleLayer, items: ItemAttributes, learned: NDArray[np.str_] | None = None
) -> list[Conflict]:
    """Return all conflicts of rules that count now.

    `items` are those that the rules name, as far as they are known; `learned` those of the champion, if there is one.
    """
    named = {rule.placement for rule in layer if rule.placement is not None}
    missing = "the placements file has no such placement, so its rules have no effect"
    found = [Conflict(name, missing) for name in sorted(named - file.keys())]
    known: list[str] = items.items.tolist()
    new = frozenset[str]() if learned is None else frozenset(items.items[index_of(learned, items.items) < 0].tolist())
    for name, placement in file.items():
        allowed = dict(zip(known, items.allowed(placement.rules).tolist(), strict=True))
        sold = dict(zip(known, items.available.tolist(), strict=True))
        own = layer.of(name)
        late = ((_of_new(pin), pin) for pin in own.pins if allowed.get(pin.item) and pin.item in new)
        details = (*_of_pins(placement, own, allowed, sold), *late, *_of_others(placement, own, allowed, sold))
        found += [Conflict(name, detail, rule) for detail, rule in details]
    return found


def _of_pins(placement: Placement, own: RuleLayer, allowed: Mapping[str, bool], sold: Mapping[str, bool]) -> _Found:
    by_place = {pin.place: pin.item for pin in placement.rules.pin}
    by_item = {pin.item: pin.place for pin in placement.rules.pin}
    for pin in own.pins:
        what = f"{pin.item!r} is pinned to place {pin.place}"
        if pin.place > placement.k:
            yield f"{what}, and the file's lists have {placement.k} places; the pin has no effect", pin
        if pin.item not in allowed:
            yield f"{what}, and the catalogue does not have it; the pin has no effect", pin
        elif not sold[pin.item]:
            yield f"{what}, and it cannot be bought now; the pin waits until it can", pin
        elif not allowed[pin.item]:
            yield f"{what}, and the file leaves it out by `include` or `exclude`; the pin has no effect", pin
        other = by_place.get(pin.place)
        if other not in (None, pin.item):
            yield f"{what}, where the file pins {other!r}; the operators' pin counts", pin
        elif by_item.get(pin.item, pin.place) != pin.place:
            yield f"{what}, and the file pins it to place {by_item[pin.item]}; the operators' pin counts", pin
    promote = placement.rules.promote
    free = placement.k - len({*by_place, *(pin.place for pin in own.pins)})
    if promote is not None and own.pins and promote.places(placement.k) > free:
        yield f"pins leave {free} places, and the file promotes items in {promote.places(placement.k)}", None


def _of_new(pin: PinnedItem) -> str:
    return (
        f"{pin.item!r} is pinned to place {pin.place}, and it is newer than the champion; until the next training no "
        "list is made with it"
    )


def _of_others(placement: Placement, own: RuleLayer, allowed: Mapping[str, bool], sold: Mapping[str, bool]) -> _Found:
    places = {pin.item: pin.place for pin in placement.rules.pin}
    for hide in own.hides:
        if hide.item in places:
            yield f"{hide.item!r} is hidden, and the file pins it to place {places[hide.item]}; it stays hidden", hide
    for boost in own.boosts:
        if boost.kind == "item" and sold.get(boost.value) and not allowed[boost.value]:
            yield f"{boost.value!r} is boosted, and the file leaves it out; the boost has no effect", boost
        for other in placement.rules.boost:
            named = {"item": other.items, "category": other.category, "brand": other.brand}[boost.kind] or []
            if boost.value in named and np.sign(boost.factor - 1) * np.sign(other.by - 1) < 0:
                detail = f"the {boost.kind} {boost.value!r} is boosted by {boost.factor:g}, and the file boosts it by "
                yield f"{detail}{other.by:g}; the factors are multiplied", boost

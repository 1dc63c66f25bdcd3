"""Checks a layer: faults before it is stored, and contradictions between it and the placements file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from math import isfinite
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from models.columns import CATEGORY_SEPARATOR
from models.lists.rules.compiled_rules import ItemAttributes
from models.lists.rules.layer.rule_layer import AnyRule, BoostKind, HiddenItem, PinnedItem, Rule, RuleLayer
from models.lists.rules.placement_config import Placement
from models.primitives.vocabulary import index_of

MOST_RULES: Final = 500
"""Rules of one version; each placement is compiled again when one changes."""
LOWEST_FACTOR, HIGHEST_FACTOR = 0.01, 100.0


class LayerFault(NamedTuple):
    """A fault and the rule that has it, such as `/pins/0/place`."""

    place: str
    detail: str


class KnownNames(Protocol):
    """The names that a catalogue has."""

    def has(self, kind: BoostKind, value: str) -> bool:
        """Return whether there is such an item, category or brand; a category counts with those below it."""


def faults(
    layer: RuleLayer, before: RuleLayer, placements: Mapping[str, Placement], names: KnownNames, now: datetime
) -> list[LayerFault]:
    """Return all faults of a layer. Rules that the version before has already may have ended."""
    count = sum(1 for _ in layer)
    if count > MOST_RULES:
        return [LayerFault("", f"There are {count} rules; at most {MOST_RULES} are allowed. Remove those that ended.")]
    found = [*_placements(layer, placements), *_values(layer, placements, names)]
    known = set(before)
    found += [
        LayerFault(f"/{kind}/{at}/until", "The end is in the past. Give a later moment, or none.")
        for kind, rules in layer.by_kind().items()
        for at, rule in enumerate(rules)
        if rule.ended(now) and rule not in known
    ]
    return found + list(_contradictions(layer, now))


def _placements(layer: RuleLayer, placements: Mapping[str, Placement]) -> Iterator[LayerFault]:
    for kind, rules in layer.by_kind().items():
        for at, rule in enumerate(rules):
            if rule.placement is not None and rule.placement not in placements:
                known = ", ".join(placements)
                yield LayerFault(f"/{kind}/{at}/placement", f"There is no such placement; there are {known}.")


def _values(layer: RuleLayer, placements: Mapping[str, Placement], names: KnownNames) -> Iterator[LayerFault]:
    for at, pin in enumerate(layer.pins):
        k = placements[pin.placement].k if pin.placement in placements else pin.place
        if not 1 <= pin.place <= k:
            yield LayerFault(f"/pins/{at}/place", f"The places of {pin.placement!r} are 1 to {k}.")
    for at, boost in enumerate(layer.boosts):
        if not (isfinite(boost.factor) and LOWEST_FACTOR <= boost.factor <= HIGHEST_FACTOR):
            detail = f"A factor is a number from {LOWEST_FACTOR:g} to {HIGHEST_FACTOR:g}; 1 changes nothing."
            yield LayerFault(f"/boosts/{at}/factor", detail)
        levels = boost.value.split(CATEGORY_SEPARATOR) if boost.kind == "category" else [boost.value]
        if not all(level.strip() for level in levels):
            yield LayerFault(f"/boosts/{at}/value", "A name, or a level of the category, is empty.")
        elif not names.has(boost.kind, boost.value):
            yield LayerFault(f"/boosts/{at}/value", f"The catalogue has no such {boost.kind}. Check its spelling.")
    named: dict[str, Sequence[PinnedItem | HiddenItem]] = {"pins": layer.pins, "hides": layer.hides}
    for kind, rules in named.items():
        for at, rule in enumerate(rules):
            if not names.has("item", rule.item):
                detail = "The catalogue has no such item. Check the id, or ingest the item first."
                yield LayerFault(f"/{kind}/{at}/item", detail)


def _contradictions(layer: RuleLayer, now: datetime) -> Iterator[LayerFault]:
    yield from _repeated("pins", "place", layer.pins, lambda pin: (pin.placement, pin.place), now)
    yield from _repeated("pins", "item", layer.pins, lambda pin: (pin.placement, pin.item), now)
    yield from _repeated("hides", "item", layer.hides, lambda hide: (hide.placement, hide.item), now)
    yield from _repeated("boosts", "value", layer.boosts, lambda one: (one.placement, one.kind, one.value), now)
    hidden = {(hide.placement, hide.item): at for at, hide in enumerate(layer.hides) if not hide.ended(now)}
    for at, pin in enumerate(layer.pins):
        beside = hidden.get((pin.placement, pin.item), hidden.get((None, pin.item)))
        if beside is not None and not pin.ended(now):
            yield LayerFault(f"/pins/{at}/item", f"/hides/{beside} hides the item that this pins. Remove one of both.")


def _repeated(
    kind: str, field: str, rules: Sequence[Rule], key: Callable[[Rule], object], now: datetime
) -> Iterator[LayerFault]:
    first: dict[object, int] = {}
    for at, rule in enumerate(rules):
        if rule.ended(now):
            continue
        earlier = first.setdefault(key(rule), at)
        if earlier != at:
            yield LayerFault(f"/{kind}/{at}/{field}", f"/{kind}/{earlier} states it already. Keep one of both.")


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
        late = (
            (
                f"{pin.item!r} is pinned to place {pin.place}, and it is newer than the champion; until the next "
                "training no list is made with it",
                pin,
            )
            for pin in own.pins
            if allowed.get(pin.item) and pin.item in new
        )
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

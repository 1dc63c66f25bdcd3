"""Checks a layer before it is stored: every rule can have an effect, and no two rules contradict each other."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from math import isfinite
from typing import Final, NamedTuple, Protocol, TypeVar

from models.columns import CATEGORY_SEPARATOR
from models.lists.rules.layer.rule_layer import BoostKind, HiddenItem, OperatorRule, PinnedItem, RuleLayer
from models.lists.rules.placement_config import Placement

MOST_RULES: Final = 500
"""Rules of one version; each placement is compiled again when one changes."""
LOWEST_FACTOR, HIGHEST_FACTOR = 0.01, 100.0
Rule = TypeVar("Rule", bound=OperatorRule)


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

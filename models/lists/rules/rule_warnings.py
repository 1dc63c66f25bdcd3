"""Warns of rules that are valid but odd for the catalogue."""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.columns import BRAND, CATEGORY
from models.lists.rules.item_attributes import ItemAttributes
from models.lists.rules.placement_config import Placement
from models.lists.rules.rule_config import Rules, Selector
from models.primitives.vocabulary import index_of

_SHOWN: Final = 3
_NARROWS: Final = ("items", CATEGORY, BRAND, "price")
_EXCLUDED: Final = "unavailable, or left out by another rule"
_UNKNOWN: Final = "not in the catalogue, or newer than the champion"
_IGNORED: Final = "the pin is ignored"


def notes(placement: Placement, catalogue: ItemAttributes) -> list[str]:
    """Return notes on rules that match nothing and on lists that can never be full, each with its rule's key."""
    rules, allowed = placement.rules, catalogue.allowed(placement.rules)
    warnings = [note for where, rule in _selectors(rules) for note in _of_selector(where, rule, catalogue, allowed)]
    warnings += _of_pins(rules, catalogue, allowed)
    known = {CATEGORY: catalogue.category, BRAND: catalogue.brand}
    for name, words in known.items():
        if rules.cap is not None and getattr(rules.cap, name) is not None and not (words != "").any():
            warnings.append(f"rules.cap.{name}: no item has a {name}, so nothing is capped")
    capped = rules.cap is not None and rules.cap.category is not None and (catalogue.category != "").any()
    if capped and (catalogue.categories(rules.cap_level) < 0).all():
        warnings.append("rules.cap.category: nearly all items have the same category, so nothing is capped")
    if rules.lifetime_days is not None and np.isnan(catalogue.age_days).all():
        warnings.append("rules.lifetime_days: of no item is known when it was first seen, so none is left out")
    if allowed.sum() < placement.k:
        warnings.append(f"k: lists of {placement.k} cannot be full; items that may be shown: {allowed.sum()}")
    return warnings


def _selectors(rules: Rules) -> Iterator[tuple[str, Selector]]:
    single = {"include": rules.include, "exclude": rules.exclude, "promote": rules.promote}
    yield from ((f"rules.{name}", rule) for name, rule in single.items() if rule is not None)
    yield from ((f"rules.boost.{at}", rule) for at, rule in enumerate(rules.boost))


def _of_selector(where: str, rule: Selector, catalogue: ItemAttributes, allowed: NDArray[np.bool_]) -> Iterator[str]:
    unknown = {
        "items": _missing(rule.items, catalogue.items),
        CATEGORY: [path for path in rule.category or [] if not catalogue.below(path).any()],
        BRAND: _missing(rule.brand, catalogue.brand),
    }
    yield from (f"{where}.{kind}: no item has {_list(words)}" for kind, words in unknown.items() if words)
    selected = catalogue.selected(rule)
    if not selected.any():
        stated = [name for name in type(rule).model_fields if name in _NARROWS and getattr(rule, name) is not None]
        several = f"; an item has to fit {' and '.join(stated)}" if len(stated) > 1 else ""
        yield f"{where}: no item fits it{several}"
    elif where not in ("rules.include", "rules.exclude") and not (selected & allowed).any():
        yield f"{where}: all items that fit are {_EXCLUDED}"


def _of_pins(rules: Rules, catalogue: ItemAttributes, allowed: NDArray[np.bool_]) -> Iterator[str]:
    position = index_of(catalogue.items, np.array([pin.item for pin in rules.pin], dtype=np.str_)).tolist()
    for at, (pin, item) in enumerate(zip(rules.pin, position, strict=True)):
        if item < 0:
            yield f"rules.pin.{at}.item: {pin.item!r} is {_UNKNOWN}; {_IGNORED}"
        elif not allowed[item]:
            yield f"rules.pin.{at}.item: {pin.item!r} is {_EXCLUDED}; {_IGNORED}"


def _missing(words: list[str] | None, known: NDArray[np.str_]) -> list[str]:
    there = set(known.tolist()) if words else set()
    return [word for word in words or [] if word not in there]


def _list(words: list[str]) -> str:
    shown = ", ".join(map(repr, words[:_SHOWN]))
    return f"{shown} and {len(words) - _SHOWN} more" if len(words) > _SHOWN else shown

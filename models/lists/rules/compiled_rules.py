"""Compiles a placement's rules against a catalogue: which items may be shown, how many of a group, and where."""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.columns import BRAND, CATEGORY, CATEGORY_SEPARATOR
from models.lists.rules.placement_config import KINDS, Placement, Rules, Selector, listed
from models.primitives.vocabulary import index_of


class Cap(NamedTuple):
    """The maximum of one group in one list."""

    group: NDArray[np.int32]
    """[n] of each item; -1 for items without a group, which are not counted."""
    most: int


class ActiveCap(NamedTuple):
    """A cap with only the groups that can exceed it."""

    group: NDArray[np.int32]
    """[n] from 0; `groups` for items that no cap limits."""
    groups: int
    most: int


NEARLY_ALL = 0.9
"""A category with a larger share of the items is not capped: the cap would cut every list short."""
NO_GROUP = -1
"""The group of items without a category, or without a brand."""
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class ItemAttributes:
    """The known attributes of n items."""

    items: NDArray[np.str_]
    """[n] ids, sorted."""
    category: NDArray[np.str_]
    """[n] paths, the most general level first; empty if unknown."""
    brand: NDArray[np.str_]
    """[n] empty if unknown."""
    price: NDArray[np.float64]
    """[n] NaN if unknown."""
    age_days: NDArray[np.float64]
    """[n] days since the item was first seen; NaN if unknown."""
    available: NDArray[np.bool_]
    """[n]"""
    _prepared: dict[Hashable, Any] = field(default_factory=dict, repr=False)
    """Paths, and the numbers of categories by depth and of brands: they take long, and do not depend on stock."""

    def allowed(self, rules: Rules) -> NDArray[np.bool_]:
        """Return [n] which items lists under these rules may hold."""
        allowed = self.available.copy()
        if rules.include is not None:
            allowed &= self.selected(rules.include)
        if rules.exclude is not None:
            allowed &= ~self.selected(rules.exclude)
        if rules.exclude_items:
            allowed &= ~np.isin(self.items, rules.exclude_items)
        if rules.lifetime_days is not None:
            allowed &= ~(self.age_days > rules.lifetime_days)
        return allowed

    def selected(self, selector: Selector) -> NDArray[np.bool_]:
        """Return [n] which items a rule selects."""
        selected = np.ones(len(self.items), dtype=bool)
        if selector.items is not None:
            selected &= np.isin(self.items, selector.items)
        if selector.brand is not None:
            selected &= np.isin(self.brand, selector.brand)
        if selector.category is not None:
            selected &= np.logical_or.reduce([self.below(path) for path in selector.category])
        if selector.price is not None:
            low, high = selector.price
            # Comparisons with NaN are false, so that an unknown price is never within bounds.
            selected &= self.price >= (-np.inf if low is None else low)
            selected &= self.price <= (np.inf if high is None else high)
        return selected

    def below(self, path: str) -> NDArray[np.bool_]:
        """Return [n] which items have this category, or one below it."""
        paths, number = self._paths()
        below = [known == path or known.startswith(path + CATEGORY_SEPARATOR) for known in paths]
        return np.array(below, dtype=bool)[number]

    def categories(self, levels: int) -> NDArray[np.int32]:
        """Return [n] a number per item, equal if the first `levels` of the paths are equal.

        It is NO_GROUP without a path, and for the items of a category that has `NEARLY_ALL`.
        """
        return self._once(levels, lambda: self._numbered_categories(levels))

    def brands(self) -> NDArray[np.int32]:
        """Return [n] a number per item, equal for items of one brand; NO_GROUP without a brand."""
        return self._once("brands", lambda: _groups(self.brand))

    def _once(self, key: Hashable, work: Callable[[], T]) -> T:
        if key not in self._prepared:
            self._prepared[key] = work()
        result: T = self._prepared[key]
        return result

    def _paths(self) -> tuple[list[str], NDArray[np.int32]]:
        """Return the paths of all items, each once, and [n] the position of each item's."""

        def paths() -> tuple[list[str], NDArray[np.int32]]:
            place = {path: number for number, path in enumerate(dict.fromkeys(self.category.tolist()))}
            return list(place), np.array([place[path] for path in self.category.tolist()], dtype=np.int32)

        return self._once("paths", paths)

    def _numbered_categories(self, levels: int) -> NDArray[np.int32]:
        paths, number = self._paths()
        cut = [CATEGORY_SEPARATOR.join(path.split(CATEGORY_SEPARATOR)[:levels]) for path in paths]
        group = _groups(np.array(cut, dtype=np.str_))[number]
        large = np.flatnonzero(np.bincount(group[group >= 0]) > NEARLY_ALL * len(group))
        return np.where(np.isin(group, large), NO_GROUP, group).astype(np.int32)


def _groups(words: NDArray[np.str_]) -> NDArray[np.int32]:
    group = np.unique(words, return_inverse=True)[1].reshape(words.shape)
    return np.where(words == "", NO_GROUP, group).astype(np.int32)


_LEAST, _MOST = 1e-6, 1e6
# Factors are kept between these: scores stay numbers.


class Group(NamedTuple):
    """Items whose scores have the same factor."""

    items: NDArray[np.int32]
    """Positions, ascending."""
    by: np.float32


@dataclass(frozen=True, eq=False)
class CompiledRules:
    """The rules that `models.lists.constrained_selection` applies, for n items by position."""

    k: int
    allowed: NDArray[np.bool_]
    """[n] items that may be shown to any user."""
    boost: NDArray[np.float32]
    """[n] factors of scores, 1 for no boost."""
    caps: tuple[Cap, ...]
    promoted: NDArray[np.bool_]
    """[n] items that the promoted places are for."""
    promoted_places: tuple[int, ...]
    """From 0, ascending."""
    pins: tuple[tuple[int, int], ...]
    """Places, from 0, and their items; earlier ones go first if a cap has no room for all."""
    prepared: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)
    """What selections prepare once for these rules, by their own keys."""

    @classmethod
    def plain(cls, k: int, allowed: NDArray[np.bool_]) -> Self:
        """Return rules that only state which items may be shown."""
        return cls(k, allowed, np.ones(len(allowed), np.float32), (), np.zeros(len(allowed), bool), (), ())

    @classmethod
    def unrestricted(cls, k: int, n_items: int) -> Self:
        """Return no rules: any of `n_items` may be shown. Offline evaluation and benchmarks rank like this."""
        return cls.plain(k, np.ones(n_items, dtype=bool))

    @classmethod
    def of(cls, placement: Placement, catalogue: ItemAttributes) -> Self:
        """Return the rules of a placement; names that the catalogue does not have are ignored (see `notes`)."""
        rules, k = placement.rules, placement.k
        boost = np.ones(len(catalogue.items))
        for rule in rules.boost:
            boost[catalogue.selected(rule)] *= rule.by
        positions = index_of(catalogue.items, np.array([pin.item for pin in rules.pin], dtype=np.str_)).tolist()
        pins = sorted((pin.place - 1, item) for pin, item in zip(rules.pin, positions, strict=True) if item >= 0)
        return cls(
            k,
            catalogue.allowed(rules),
            np.clip(boost, _LEAST, _MOST).astype(np.float32),
            _caps(rules, catalogue),
            np.zeros(len(boost), dtype=bool) if rules.promote is None else catalogue.selected(rules.promote),
            () if rules.promote is None else _spread(rules.promote.places(k), k, {place for place, _ in pins}),
            tuple(pins),
        )

    def whole_order(self) -> Self:
        """Return rules under which a list holds all items in the order in which lists take them."""
        n = len(self.allowed)
        return replace(self, k=n, allowed=np.ones(n, dtype=bool), caps=(), promoted_places=(), pins=())

    # The following are the same arrays for every chunk of users, so that a source can cache what it prepares for them.

    @cached_property
    def candidates(self) -> tuple[Group, ...]:
        """All items that may be shown, by the factors of their scores."""
        return self._by_factor(self.allowed)

    @cached_property
    def candidates_to_promote(self) -> tuple[Group, ...]:
        """Those of them that the promoted places are for."""
        return self._by_factor(self.allowed & self.promoted)

    @cached_property
    def pinned(self) -> NDArray[np.int32]:
        """Pinned items that may be shown, ascending."""
        items = np.array(sorted({item for _, item in self.pins}), dtype=np.int32)
        return items[self.allowed[items]]

    @cached_property
    def limits(self) -> tuple[ActiveCap, ...]:
        """The caps that can exclude anything."""
        active = []
        for cap in self.caps:
            grouped = self.allowed & (cap.group >= 0)
            large = np.flatnonzero(np.bincount(cap.group[grouped]) > cap.most)
            if cap.most < self.k and len(large):
                group = np.full(len(self.allowed), len(large), dtype=np.int32)
                limited = np.flatnonzero(np.isin(cap.group, large))
                group[limited] = np.searchsorted(large, cap.group[limited])
                active.append(ActiveCap(group, len(large), cap.most))
        return tuple(active)

    def _by_factor(self, selected: NDArray[np.bool_]) -> tuple[Group, ...]:
        factors = np.unique(self.boost[selected])
        return tuple(Group(np.flatnonzero(selected & (self.boost == by)).astype(np.int32), by) for by in factors)


def _caps(rules: Rules, catalogue: ItemAttributes) -> tuple[Cap, ...]:
    if rules.cap is None:
        return ()
    by_category, by_brand = rules.cap.category, rules.cap.brand
    caps = [] if by_category is None else [Cap(catalogue.categories(rules.cap_level), by_category)]
    return (*caps, *([] if by_brand is None else [Cap(catalogue.brands(), by_brand)]))


def _spread(promoted: int, k: int, pinned: set[int]) -> tuple[int, ...]:
    """Return `promoted` of the places without a pin, at even distances."""
    free = [place for place in range(k) if place not in pinned]
    promoted = min(promoted, len(free))  # operators may pin more than the file left places for
    return tuple(free[(2 * nth + 1) * len(free) // (2 * promoted)] for nth in range(promoted))


_SHOWN: Final = 3
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
    yield from (f"{where}.{kind}: no item has {listed(words, _SHOWN)}" for kind, words in unknown.items() if words)
    selected = catalogue.selected(rule)
    if not selected.any():
        stated = [name for name in type(rule).model_fields if name in KINDS and getattr(rule, name) is not None]
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

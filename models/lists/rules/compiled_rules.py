"""Compiles a placement's rules against a catalogue: which items may be shown, how many of a group, and where."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models.lists.rules.caps import ActiveCap, active_caps
from models.lists.rules.caps import Cap as Cap
from models.lists.rules.item_attributes import ItemAttributes as ItemAttributes
from models.lists.rules.placement_config import Placement
from models.lists.rules.rule_config import Rules
from models.lists.rules.rule_warnings import notes as notes
from models.primitives.vocabulary import index_of

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
        return active_caps(self.caps, self.allowed, self.k)

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

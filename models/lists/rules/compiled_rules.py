"""The rules of a placement against a catalogue: which items may be shown, how often their like, and where."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models.lists.rules.caps import Cap as Cap
from models.lists.rules.caps import Limit, limits
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
    """What `models.lists.constrained_selection` keeps to, for n items that are named by their positions."""

    k: int
    allowed: NDArray[np.bool_]
    """[n] what may be shown to anybody."""
    boost: NDArray[np.float32]
    """[n] factors of scores, 1 where there is none."""
    caps: tuple[Cap, ...]
    promoted: NDArray[np.bool_]
    """[n] what the promoted places are for."""
    promoted_places: tuple[int, ...]
    """From 0, ascending."""
    pins: tuple[tuple[int, int], ...]
    """Places, from 0, and their items; earlier ones go first where a cap has no room for all."""

    @classmethod
    def plain(cls, k: int, allowed: NDArray[np.bool_]) -> Self:
        """No rules but what may be shown."""
        return cls(k, allowed, np.ones(len(allowed), np.float32), (), np.zeros(len(allowed), bool), (), ())

    @classmethod
    def of(cls, placement: Placement, catalogue: ItemAttributes) -> Self:
        """The rules of a placement; what they name and the catalogue does not have is passed over (see `notes`)."""
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

    # What follows is the same arrays for every chunk of users, so that a shelf can keep what it prepared for them.

    @cached_property
    def candidates(self) -> tuple[Group, ...]:
        """All that may be shown, by the factors of their scores."""
        return self._by_factor(self.allowed)

    @cached_property
    def candidates_to_promote(self) -> tuple[Group, ...]:
        """What of them the promoted places are for."""
        return self._by_factor(self.allowed & self.promoted)

    @cached_property
    def pinned(self) -> NDArray[np.int32]:
        """Pinned items that may be shown, ascending."""
        items = np.array(sorted({item for _, item in self.pins}), dtype=np.int32)
        return items[self.allowed[items]]

    @cached_property
    def limits(self) -> tuple[Limit, ...]:
        """The caps, as far as they can keep anything out."""
        return limits(self.caps, self.allowed, self.k)

    def _by_factor(self, which: NDArray[np.bool_]) -> tuple[Group, ...]:
        factors = np.unique(self.boost[which])
        return tuple(Group(np.flatnonzero(which & (self.boost == by)).astype(np.int32), by) for by in factors)


def _caps(rules: Rules, catalogue: ItemAttributes) -> tuple[Cap, ...]:
    if rules.cap is None:
        return ()
    by_category, by_brand = rules.cap.category, rules.cap.brand
    caps = [] if by_category is None else [Cap(catalogue.categories(rules.cap_level), by_category)]
    return (*caps, *([] if by_brand is None else [Cap(catalogue.brands(), by_brand)]))


def _spread(promoted: int, k: int, pinned: set[int]) -> tuple[int, ...]:
    """So many of the places without a pin, at even distances."""
    free = [place for place in range(k) if place not in pinned]
    return tuple(free[(2 * nth + 1) * len(free) // (2 * promoted)] for nth in range(promoted))

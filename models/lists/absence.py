"""Derives from one user's list, the scores and the rules why an item is not on it.

Lists are filled greedily: pins, then promoted places, then the rest, each by the best item that is usable and within
the caps. So the items that were placed before an item decide. If they fill the list, the item comes too late; if they
fill a cap of its category or brand, the cap keeps it off; else it was no candidate for this user.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.lists.list_builder import lists_of_scores
from models.lists.rules.compiled_rules import Cap, CompiledRules


class Absence(StrEnum):
    """Why an item is not on a list."""

    NOT_ALLOWED = "the rules leave it out"
    FULL = "items before it fill the list"
    CAPPED = "a cap is full"
    NO_CANDIDATE = "it was no candidate for this user"


class Order(NamedTuple):
    """The order in which lists of one user take items, as the list builder ranks them."""

    position: NDArray[np.int64]
    """[n] of each item in that order, from 0."""
    scored: NDArray[np.bool_]
    """[n] true if the model scores the item, false if only the fallback ranks it."""
    score: NDArray[np.float32]
    """[n] the model's score with boosts, or the fallback's."""

    @classmethod
    def of(cls, scores: NDArray[np.float32], fallback: NDArray[np.float32], rules: CompiledRules) -> "Order":
        """Return the order by the model's scores [n] and, after them, by the fallback [n]."""
        ranked = lists_of_scores(scores[None], rules.whole_order(), fallback)
        items, n = ranked.items[0], len(scores)
        order = cls(np.empty(n, dtype=np.int64), np.empty(n, dtype=bool), np.empty(n, dtype=np.float32))
        order.position[items] = np.arange(n)
        order.scored[items], order.score[items] = ~ranked.from_fallback[0], ranked.scores[0]
        return order

    def before(self, items: NDArray[np.int32], item: int) -> NDArray[np.bool_]:
        """Return [m] which of `items` are taken before `item`."""
        earlier: NDArray[np.bool_] = self.position[items] < self.position[item]
        return earlier


@dataclass(frozen=True)
class Reason:
    """Why an item is not on a list."""

    why: Absence
    cap: Cap | None = None
    """The cap that is full."""
    place: int = 0
    """The item's rank by score among all items that may be shown, from 1."""


def reason_of(item: int, listed: NDArray[np.int32], order: Order, rules: CompiledRules) -> Reason:
    """Return why `item` is not among `listed` [l], the positions of a list's items from the best place on."""
    if not rules.allowed[item]:
        return Reason(Absence.NOT_ALLOWED)
    everything = np.flatnonzero(rules.allowed).astype(np.int32)
    place = int(order.before(everything, item).sum()) + 1
    reason = Reason(Absence.FULL, place=place)
    for taken, free in _passes(item, listed, order, rules):
        cap = _full_cap(item, taken, rules)
        if free and cap is None:
            return Reason(Absence.NO_CANDIDATE, place=place)
        reason = Reason(Absence.CAPPED, cap, place) if free else Reason(Absence.FULL, place=place)
    return reason


def _passes(
    item: int, listed: NDArray[np.int32], order: Order, rules: CompiledRules
) -> Iterator[tuple[NDArray[np.int32], bool]]:
    """Yield the items taken before it, and whether a place was free, for each pass that could have placed the item."""
    places = np.arange(len(listed))
    pinned = np.zeros(len(listed), dtype=bool)
    for place, pin in rules.pins:
        if pin == item:
            yield listed[pinned], True
        pinned |= (places == place) & (listed == pin)
    promoted = np.isin(places, rules.promoted_places) & rules.promoted[listed] & ~pinned
    before = order.before(listed, item)
    if rules.promoted[item]:
        earlier = promoted & before
        yield listed[pinned | earlier], int(earlier.sum()) < len(rules.promoted_places)
    taken = listed[pinned | promoted | before]
    yield taken, len(taken) < rules.k


def _full_cap(item: int, taken: NDArray[np.int32], rules: CompiledRules) -> Cap | None:
    """Return the cap that has no room for the item beside the `taken` items."""
    for cap in rules.caps:
        if cap.group[item] >= 0 and (cap.group[taken] == cap.group[item]).sum() >= cap.most:
            return cap
    return None

"""Derives from one user's list, the scores and the rules why an item is not on it.

Lists are filled greedily: pins, then promoted places, then the rest, each by the best item that is usable and within
the caps. So what was placed before an item decides: if those items fill the list, the item comes too late; if they
fill a cap of its category or brand, the cap keeps it off; else it was no candidate for this user.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.lists.candidate_streams import boosted
from models.lists.rules.caps import Cap
from models.lists.rules.compiled_rules import CompiledRules

_NOTHING = np.float32(-np.inf)


class Absence(StrEnum):
    """Why an item is not on a list."""

    NOT_ALLOWED = "the rules leave it out"
    FULL = "items before it fill the list"
    CAPPED = "a cap is full"
    NO_CANDIDATE = "it was no candidate for this user"


class Order(NamedTuple):
    """In which order items are taken for one user: first by tier, then by score, then by position."""

    tier: NDArray[np.int8]
    """[n] 0 if the model scores the item, 1 if only the fallback ranks it."""
    score: NDArray[np.float32]
    """[n] with boosts in tier 0."""

    @classmethod
    def of(cls, scores: NDArray[np.float32], fallback: NDArray[np.float32], rules: CompiledRules) -> "Order":
        """Return the order by the model's scores [n] and, after them, by the fallback [n]."""
        known = scores > _NOTHING
        least = np.finfo(np.float32).min
        rest = np.maximum(np.where(np.isnan(fallback), least, fallback), least)
        score = np.where(known, boosted(scores, rules.boost), rest).astype(np.float32)
        return cls((~known).astype(np.int8), score)

    def before(self, items: NDArray[np.int32], item: int) -> NDArray[np.bool_]:
        """[m] which of `items` are taken before `item`."""
        tier, score = self.tier[items], self.score[items]
        ties = (score == self.score[item]) & (items < item)
        better = (score > self.score[item]) | ties
        found: NDArray[np.bool_] = (tier < self.tier[item]) | ((tier == self.tier[item]) & better)
        return found


@dataclass(frozen=True)
class Reason:
    """Why an item is not on a list."""

    why: Absence
    cap: Cap | None = None
    """The cap that is full."""
    place: int = 0
    """Where the item stands by score among all that may be shown, from 1."""


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
    """Yield for each pass that could have placed the item what was taken before it, and whether a place was free."""
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
    """Return the cap that has no room for the item beside what was taken."""
    for cap in rules.caps:
        if cap.group[item] >= 0 and (cap.group[taken] == cap.group[item]).sum() >= cap.most:
            return cap
    return None

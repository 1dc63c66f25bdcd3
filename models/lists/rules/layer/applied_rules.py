"""Applies rules of operators: to a placement before its lists are made, and to a list that was made before.

A placement gets them beside the rules of its file, so that one list builder applies both. A list was made under the
rules of its time: its scores are freed of the factors of that time and get those of today, its pins give up their
places, and today's pins take theirs. Nothing enters the list but pins; docs/decisions states the limits of that.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from models.lists.candidate_streams import boosted
from models.lists.rules.layer.rule_layer import RuleLayer
from models.lists.rules.placement_config import Placement
from models.lists.rules.rule_config import Pin
from models.recommenders.explanations.sentences import PICKED

Ranked = tuple[str, float, str]
"""Item, score and reason."""
Factor = Callable[[str], float]
"""Returns the factor of an item's score."""


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


@dataclass(frozen=True)
class RuleChange:
    """The rules that a list was made under, and those of today, as far as they move items."""

    pins_then: Mapping[str, int]
    """Places, from 1, by item."""
    pins_now: Mapping[str, int]
    factor: Factor
    """The factor of today divided by the factor of that time."""

    @property
    def new_pins(self) -> frozenset[str]:
        """Return the pinned items that were not pinned then."""
        return frozenset(self.pins_now.keys() - self.pins_then.keys())


def reranked(
    entries: Sequence[Ranked], change: RuleChange, insertable: Collection[str] = (), page: range | None = None
) -> list[Ranked]:
    """Return the entries in the order of today's rules.

    New pins that are not on the list are added if they are `insertable`. Pins of places beyond a short list come last.
    With the places of a `page`, the entries are that page, and pins of other places are on other pages.
    """
    first = 1 if page is None else page.start
    known = {entry[0]: (entry[0], _moved(entry[1], change.factor(entry[0])), entry[2]) for entry in entries}
    pinned = {item for item in known if item in change.pins_now}
    unpinned = [item for item in known if item in change.pins_then and item not in pinned]
    runs = _runs([entry for entry in entries if entry[0] not in change.pins_now and entry[0] not in change.pins_then])
    ordered = [sorted((known[entry[0]] for entry in run), key=_order) for run in runs]
    for item in unpinned:
        if known[item][2] != PICKED:  # otherwise no model ranks it
            _insert(ordered, known[item])
    listed = [entry for run in ordered for entry in run]
    for item, place in sorted(change.pins_now.items(), key=lambda pin: pin[1]):
        if (page is None or place in page) and (item in known or item in insertable):
            listed.insert(place - first, known.get(item, (item, 0.0, PICKED)))
    return listed


def _moved(score: float, factor: float) -> float:
    return score if factor == 1 else float(boosted(np.array([score], dtype=np.float32), np.float32(factor))[0])


def _runs(entries: Sequence[Ranked]) -> list[list[Ranked]]:
    """Return the parts of a list in which scores descend.

    A higher score begins another part: best sellers after a model's items have scores of another scale, and promoted
    places interrupt the order.
    """
    runs = [[entry] for entry in entries[:1]]
    for before, entry in pairwise(entries):
        if entry[1] > before[1]:
            runs.append([])
        runs[-1].append(entry)
    return runs


def _insert(runs: list[list[Ranked]], entry: Ranked) -> None:
    """Put an item that lost its pin where its score belongs: into the part of its scale, else to the end."""
    within = [run for run in runs if run[0][1] >= entry[1] >= run[-1][1]]
    if not within and len(runs) != 1:
        runs.append([entry])
        return
    run = (within or runs)[0]
    run.append(entry)
    run.sort(key=_order)


def _order(entry: Ranked) -> tuple[float, str]:
    """Sort by score, and then as list builders do: by id."""
    return -entry[1], entry[0]

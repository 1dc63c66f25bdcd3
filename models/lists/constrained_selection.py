"""The one place where ranked candidates become lists under rules.

Of each user the usable items are those that are allowed and not hidden from that user. Their order is the model's, by
score and position, and after it the fallback's, of items of which the model says nothing. Pins come first, then the
promoted places, then all others; each takes the best that is usable, not on the list yet, and within the caps.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.lists.candidate_streams import FallbackStream, ModelStream, boosted
from models.lists.rules.compiled_rules import CompiledRules
from models.lists.slot_filling import OpenLists
from models.primitives.vocabulary import NO_INDEX
from models.retrieval.source_protocols import CandidateSource as CandidateSource
from models.retrieval.source_protocols import ScopedSource as ScopedSource
from models.retrieval.source_protocols import TopCandidates as TopCandidates

Fallback = NDArray[np.float32] | CandidateSource
_NOTHING = np.float32(-np.inf)


class Selected(NamedTuple):
    """The lists of m users, each item at most once a user."""

    items: NDArray[np.int32]
    """[m, k] positions in the catalogue; -1 at the end where no usable item is left that the caps allow."""
    scores: NDArray[np.float32]
    """[m, k] the model's score with boosts, or the fallback's own (another scale: go by rank); -inf for neither."""
    from_fallback: NDArray[np.bool_]
    """[m, k] true where the model had nothing to say of the item."""
    short: NDArray[np.bool_]
    """[m] true where the list has fewer than k items."""

    @property
    def picked(self) -> NDArray[np.bool_]:
        """[m, k] pins of which nobody has anything to say."""
        found: NDArray[np.bool_] = (self.items >= 0) & ~(self.scores > _NOTHING)
        return found

    @property
    def stated(self) -> NDArray[np.float32]:
        """[m, k] the scores as they are published: 0 for what is only `picked`."""
        return np.where(self.picked, np.float32(0), self.scores)


def select(
    shelf: CandidateSource, m: int, rules: CompiledRules, hide: Any = None, fallback: Fallback | None = None
) -> Selected:
    """The lists of the `m` users whom the shelf speaks of.

    `hide` (CSR of bool, m x n_items) keeps items from single users. `fallback` [n_items] ranks what the model says
    nothing about, its -inf and NaN last; or a shelf does, for each user apart. Without it such items are not shown,
    unless they are pinned. The lists do not depend on who else is in the chunk. Memory grows with m x (k + what is
    hidden), never with m x n_items.
    """
    lists = OpenLists(
        np.full((m, rules.k), NO_INDEX, dtype=np.int32),
        np.full((m, rules.k), _NOTHING, dtype=np.float32),
        np.zeros((m, rules.k), dtype=bool),
        _without_zeros(hide),
        rules.limits,
        len(rules.allowed),
    )
    _pin(lists, shelf, rules, fallback)
    promoted = np.isin(np.arange(rules.k), rules.promoted_places)
    for groups, places in ((rules.candidates_to_promote, promoted), (rules.candidates, np.ones_like(promoted))):
        if not groups or not places.any():
            continue
        lists.fill(ModelStream.of(shelf, groups), places, fallback=False)
        if fallback is not None and (lists.items[:, places] < 0).any():
            # What the model ranked and did not place is hidden, or capped for good: it cannot come back here.
            rest = (
                FallbackStream.of(fallback, groups)
                if isinstance(fallback, np.ndarray)
                else ModelStream.of(fallback, groups)
            )
            lists.fill(rest, places, fallback=True)
    return _closed_up(lists)


def _without_zeros(hide: Any) -> Any:
    if hide is None or not hide.nnz:
        return None
    if not hide.data.all():
        hide = hide.copy()
        hide.eliminate_zeros()
    return hide


def _pin(lists: OpenLists, shelf: CandidateSource, rules: CompiledRules, fallback: Fallback | None) -> None:
    """Put pins in their places, for everybody who may have them."""
    pins = [(place, item) for place, item in rules.pins if rules.allowed[item]]
    if not pins or not len(lists.items):
        return
    everybody = np.arange(len(lists.items))
    ranks = fallback if isinstance(fallback, np.ndarray) else np.full(lists.n_items, _NOTHING)
    wanted = np.broadcast_to(np.array([item for _, item in pins], dtype=np.int32), (len(everybody), len(pins)))
    usable = ~lists.exclusion_mask(everybody, wanted)
    fetched = shelf.restrict_to(rules.pinned).fetch(everybody, len(rules.pinned))
    for at, (place, item) in enumerate(pins):
        may = np.flatnonzero(usable[:, at] & _within_caps(lists, rules, [p for p, _ in pins[:at]], item))
        lists.items[may, place] = item
        said = np.where(fetched.items[may] == item, fetched.scores[may], _NOTHING).max(axis=1)
        silent = ~(said > _NOTHING)
        otherwise = _NOTHING if np.isnan(ranks[item]) else ranks[item]
        lists.scores[may, place] = np.where(silent, otherwise, boosted(said, rules.boost[item]))
        lists.from_fallback[may, place] = silent


def _within_caps(lists: OpenLists, rules: CompiledRules, places: list[int], item: int) -> NDArray[np.bool_]:
    """[m] whether an item is within the caps beside what stands in those places."""
    beside = lists.items[:, places]
    allowed = np.ones(len(beside), dtype=bool)
    for cap in rules.caps:
        if cap.group[item] >= 0:
            alike = (beside >= 0) & (cap.group[beside] == cap.group[item])
            allowed &= alike.sum(axis=1) < cap.most
    return allowed


def _closed_up(lists: OpenLists) -> Selected:
    """Lists without gaps: what stands behind an open place moves up."""
    short: NDArray[np.bool_] = np.any(lists.items < 0, axis=1)
    rows = np.flatnonzero(short)
    order = np.argsort(lists.items[rows] < 0, axis=1, kind="stable")
    for said in (lists.items, lists.scores, lists.from_fallback):
        said[rows] = np.take_along_axis(said[rows], order, axis=1)
    return Selected(lists.items, lists.scores, lists.from_fallback, short)

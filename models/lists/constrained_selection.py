"""Selects lists from ranked candidates under rules.

An item is usable for a user if it is allowed and not hidden from that user. The model's candidates come first, by score
and position, then the fallback's, for items that the model does not score. Pins are placed first, then the promoted
places, then all others. Each place takes the best item that is usable, not on the list yet, and within the caps.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models.lists.rules.compiled_rules import CompiledRules, Group
from models.lists.slot_filling import NO_SCORE, FallbackStream, ModelStream, OpenLists, Stream, boosted
from models.primitives.vocabulary import NO_INDEX
from models.retrieval.candidate_sources import CandidateSource
from models.retrieval.candidate_sources import ScopedSource as ScopedSource
from models.retrieval.candidate_sources import TopCandidates as TopCandidates

Fallback = NDArray[np.float32] | CandidateSource


class Selection(NamedTuple):
    """The lists of m users, each item at most once per user."""

    items: NDArray[np.int32]
    """[m, k] positions in the catalogue; -1 at the end if the caps allow no further usable item."""
    scores: NDArray[np.float32]
    """[m, k] the model's score with boosts, or the fallback's own (another scale: go by rank); -inf for neither."""
    from_fallback: NDArray[np.bool_]
    """[m, k] true if the model has no score for the item."""
    short: NDArray[np.bool_]
    """[m] true if the list has fewer than k items."""

    @classmethod
    def of(cls, items: NDArray[np.int32], scores: NDArray[np.float32], from_fallback: NDArray[np.bool_]) -> Self:
        """Return the lists with the mark of those that are short."""
        return cls(items, scores, from_fallback, np.any(items < 0, axis=1))

    @classmethod
    def joined(cls, parts: Sequence["Selection"], k: int) -> Self:
        """Return the lists of all parts, each of `k` places."""
        none = cls.of(*_empty(0, k))
        return cls(*map(np.concatenate, zip(none, *parts, strict=True)))

    @property
    def picked(self) -> NDArray[np.bool_]:
        """[m, k] pins that neither the model nor the fallback scores."""
        return (self.items >= 0) & ~(self.scores > NO_SCORE)

    @property
    def stated(self) -> NDArray[np.float32]:
        """[m, k] the scores as they are published: 0 for items that are only `picked`."""
        return np.where(self.picked, np.float32(0), self.scores)

    def first(self, k: int) -> "Selection":
        """Return the first k places of each list."""
        return Selection.of(self.items[:, :k], self.scores[:, :k], self.from_fallback[:, :k])


def select(
    source: CandidateSource, m: int, rules: CompiledRules, hide: Any = None, fallback: Fallback | None = None
) -> Selection:
    """Return the lists of the `m` users of the source.

    `hide` (CSR of bool, m x n_items) keeps items from single users. `fallback` [n_items] ranks the items that the model
    does not score, its -inf and NaN last; a source ranks them for each user separately. Without it such items are
    listed only if they are pinned. A list does not depend on the other users of the chunk. Memory grows with
    m x (k + hidden items), never with m x n_items.
    """
    lists = OpenLists(*_empty(m, rules.k), _without_zeros(hide), rules.limits, len(rules.allowed))
    _pin(lists, source, rules, fallback)
    promoted = np.isin(np.arange(rules.k), rules.promoted_places)
    for groups, places in ((rules.candidates_to_promote, promoted), (rules.candidates, np.ones_like(promoted))):
        if not groups or not places.any():
            continue
        lists.fill(ModelStream.of(source, groups), places, fallback=False)
        if fallback is not None and (lists.items[:, places] < 0).any():
            # Items that the model ranked and did not place are hidden, or capped for good: they cannot come back here.
            lists.fill(_fallback_stream(fallback, groups, rules), places, fallback=True)
    return _closed_up(lists)


def _empty(m: int, k: int) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.bool_]]:
    items, scores = np.full((m, k), NO_INDEX, dtype=np.int32), np.full((m, k), NO_SCORE, dtype=np.float32)
    return items, scores, np.zeros((m, k), dtype=bool)


def _fallback_stream(fallback: Fallback, groups: Sequence[Group], rules: CompiledRules) -> Stream:
    """Return the candidates of the fallback; one order for everybody is sorted once for the rules."""
    if not isinstance(fallback, np.ndarray):
        return ModelStream.of(fallback, groups)
    key = "fallback", id(fallback), groups is rules.candidates
    if key not in rules.prepared:
        rules.prepared[key] = fallback, FallbackStream.of(fallback, groups)  # the id stays that of this array
    stream: FallbackStream = rules.prepared[key][1]
    return stream


def _without_zeros(hide: Any) -> Any:
    if hide is None or not hide.nnz:
        return None
    if not hide.data.all():
        hide = hide.copy()
        hide.eliminate_zeros()
    return hide


def _pin(lists: OpenLists, source: CandidateSource, rules: CompiledRules, fallback: Fallback | None) -> None:
    """Put pins in their places, for all users from whom they are not hidden."""
    pins = [(place, item) for place, item in rules.pins if rules.allowed[item]]
    if not pins or not len(lists.items):
        return
    all_rows = np.arange(len(lists.items))
    ranks = fallback if isinstance(fallback, np.ndarray) else np.full(lists.n_items, NO_SCORE)
    pinned = np.broadcast_to(np.array([item for _, item in pins], dtype=np.int32), (len(all_rows), len(pins)))
    usable = ~lists.excluded(all_rows, pinned)
    scored = source.restrict_to(rules.pinned).fetch(all_rows, len(rules.pinned))
    for at, (place, item) in enumerate(pins):
        rows = np.flatnonzero(usable[:, at] & _within_caps(lists, rules, [p for p, _ in pins[:at]], item))
        lists.items[rows, place] = item
        score = np.where(scored.items[rows] == item, scored.scores[rows], NO_SCORE).max(axis=1)
        unscored = ~(score > NO_SCORE)
        otherwise = NO_SCORE if np.isnan(ranks[item]) else ranks[item]
        lists.scores[rows, place] = np.where(unscored, otherwise, boosted(score, rules.boost[item]))
        lists.from_fallback[rows, place] = unscored


def _within_caps(lists: OpenLists, rules: CompiledRules, places: list[int], item: int) -> NDArray[np.bool_]:
    """Return [m] whether an item is within the caps beside the items in those places."""
    beside = lists.items[:, places]
    allowed = np.ones(len(beside), dtype=bool)
    for cap in rules.caps:
        if cap.group[item] >= 0:
            same_group = (beside >= 0) & (cap.group[beside] == cap.group[item])
            allowed &= same_group.sum(axis=1) < cap.most
    return allowed


def _closed_up(lists: OpenLists) -> Selection:
    """Return lists without gaps: items behind an open place move up."""
    rows = np.flatnonzero(np.any(lists.items < 0, axis=1))
    order = np.argsort(lists.items[rows] < 0, axis=1, kind="stable")
    for array in (lists.items, lists.scores, lists.from_fallback):
        array[rows] = np.take_along_axis(array[rows], order, axis=1)
    return Selection.of(lists.items, lists.scores, lists.from_fallback)

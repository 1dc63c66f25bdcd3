"""Streams candidates in the order in which they may enter lists: the model's, with boosts, or the fallback's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from models.lists.rules.compiled_rules import Group
from models.retrieval.candidate_sources import CandidateSource, ScopedSource, TopCandidates

_NO_SCORE = np.float32(-np.inf)
_LOWEST = np.finfo(np.float32).min
NO_CANDIDATE: Final = np.uint64(2**64 - 1)
"""The key of an empty place: greater than all others."""

_SIGN: Final = np.uint32(1 << 31)
_MAGNITUDE: Final = np.uint32(_SIGN - 1)


def keys(scores: NDArray[np.float32], items: NDArray[np.int32]) -> NDArray[np.uint64]:
    """Return keys whose ascending order is that of descending scores and then of ascending `items`.

    A score of NaN or -inf, or an item of -1, is no candidate. The two arrays have one shape, or broadcast to one.
    """
    # Adding 0 turns -0 into 0. The bits of non-negative floats grow with their values; those of negative ones fall.
    bits = (scores + np.float32(0)).view(np.uint32)
    falling = np.where(bits < _SIGN, bits ^ _MAGNITUDE, bits).astype(np.uint64)
    packed = falling << np.uint64(32) | items.astype(np.uint32)
    return np.where((scores > -np.inf) & (items >= 0), packed, NO_CANDIDATE)


def candidates(packed: NDArray[np.uint64]) -> TopCandidates:
    """Return the candidates that have these keys."""
    items = packed.astype(np.uint32).view(np.int32)
    falling = (packed >> np.uint64(32)).astype(np.uint32)
    scores = np.where(falling < _SIGN, falling ^ _MAGNITUDE, falling).view(np.float32)
    return TopCandidates(items, np.where(items < 0, np.float32(-np.inf), scores))


class RankedPrefix(NamedTuple):
    """The best candidates of r rows, and a bound on the scores of further ones."""

    items: NDArray[np.int32]
    """[r, n] best first, ties by position; -1 at the end if there are no more."""
    scores: NDArray[np.float32]
    """[r, n]"""
    ended: NDArray[np.bool_]
    """[r] whether the row has no further candidates."""
    beyond: NDArray[np.float32]
    """[r] the highest score that a further candidate can have; NaN if all further candidates come after these."""


class Stream(Protocol):
    """Candidates that can be fetched repeatedly, and deeper each time."""

    @property
    def depth(self) -> int:
        """Return the depth at which all candidates are known."""

    def best(self, rows: NDArray[np.int64], n: int) -> RankedPrefix:
        """Return at least the `n` best of those rows."""


@dataclass(frozen=True, eq=False)
class ModelStream:
    """Candidates of a source; items of one factor are ranked among themselves, and then merged."""

    parts: tuple[tuple[ScopedSource, int, np.float32], ...]
    """Sources, the number of their items, and the factor of their scores."""

    @classmethod
    def of(cls, source: CandidateSource, groups: Sequence[Group]) -> Self:
        """Return the candidates that the source has among the items of the groups."""
        return cls(tuple((source.restrict_to(group.items), len(group.items), group.by) for group in groups))

    @property
    def depth(self) -> int:
        """Return the number of items of the largest group."""
        return max((size for _, size, _ in self.parts), default=0)

    def best(self, rows: NDArray[np.int64], n: int) -> RankedPrefix:
        """Return the `n` best of each group."""
        ranked = [_of_part(source, size, by, rows, min(n, size)) for source, size, by in self.parts]
        if len(ranked) == 1 and self.parts[0][2] == 1:
            # A source returns its candidates in their final order, ties included.
            return ranked[0]._replace(beyond=np.full(len(rows), np.nan, dtype=np.float32))
        # Factors can make different scores equal, so that even one group is sorted again.
        merged = np.sort(np.concatenate([keys(part.scores, part.items) for part in ranked], axis=1), axis=1)
        ended = np.logical_and.reduce([part.ended for part in ranked])
        return RankedPrefix(*candidates(merged), ended, np.maximum.reduce([part.beyond for part in ranked]))


def _of_part(source: ScopedSource, size: int, by: np.float32, rows: NDArray[np.int64], n: int) -> RankedPrefix:
    items, scores = source.fetch(rows, n)
    scores = boosted(scores, by)
    ended = (items[:, -1] < 0) | (n == size)
    return RankedPrefix(items, scores, ended, np.where(ended, _NO_SCORE, scores[:, -1]))


def boosted(scores: NDArray[np.float32], by: np.float32 | NDArray[np.float32]) -> NDArray[np.float32]:
    """Return scores that are higher for factors above 1 and lower below 1, for negative scores too; -inf stays."""
    if np.ndim(by) == 0 and by == 1:
        return scores
    with np.errstate(over="ignore", under="ignore"):
        moved = np.where(scores >= 0, scores * by, scores / by)
    return np.where(scores > _NO_SCORE, np.maximum(moved, _LOWEST), _NO_SCORE)


@dataclass(frozen=True, eq=False)
class FallbackStream:
    """The same candidates for all users."""

    items: NDArray[np.int32]
    """[c] best first."""
    scores: NDArray[np.float32]
    """[c]"""

    @classmethod
    def of(cls, fallback: NDArray[np.float32], groups: Sequence[Group]) -> Self:
        """Return the items of the groups by their scores in the fallback [n_items]; NaN and -inf come last."""
        items = np.concatenate([np.empty(0, dtype=np.int32), *(group.items for group in groups)])
        scores = np.where(np.isnan(fallback[items]), _NO_SCORE, fallback[items])
        order = candidates(np.sort(keys(np.maximum(scores, _LOWEST), items))).items
        return cls(order, np.where(np.isnan(fallback[order]), _NO_SCORE, fallback[order]))

    @property
    def depth(self) -> int:
        """Return the number of items."""
        return len(self.items)

    def best(self, rows: NDArray[np.int64], n: int) -> RankedPrefix:
        """Return the first `n`, which all rows share."""
        shape = len(rows), min(n, len(self.items))
        items, scores = np.broadcast_to(self.items[:n], shape), np.broadcast_to(self.scores[:n], shape)
        ended, beyond = np.full(len(rows), n >= len(self.items)), np.full(len(rows), np.nan, dtype=np.float32)
        return RankedPrefix(items, scores, ended, beyond)

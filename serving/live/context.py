"""Blends a visitor's own scores with the items of the session; docs/decisions states why by ranks."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.recommenders.explanations.sentences import because
from models.recommenders.item_based.bought_together import RECIPROCAL
from models.recommenders.item_based.item_evidence import ItemEvidence
from models.recommenders.item_based.neighbours import Neighbours
from serving.live.one_visitor import OneVisitor, Scored

_OWN: Final = 500
_RELATED: Final = 200
"""The best candidates of each ranking that are blended: further ones add less than 1/260."""
_OLDER: Final = 0.8
"""The weight of an item of the context relative to the one after it."""
ITEMS: Final = 20
"""The latest items of the context that count."""


@dataclass(frozen=True, eq=False)
class RelatedItems:
    """How strongly the items of a context speak for other items."""

    context: NDArray[np.int32]
    """[m] positions, the latest last."""
    kinds: tuple[tuple[Neighbours, ...], ...]
    """[kinds, m] the neighbours of each item of the context, with weighted strengths."""

    @classmethod
    def of(cls, evidence: ItemEvidence, context: NDArray[np.int32]) -> "RelatedItems":
        """Return the evidence of the context's latest items."""
        latest = context[-ITEMS:]
        weights = (_OLDER ** np.arange(len(latest))[::-1]).astype(np.float32)
        found = [
            [Neighbours(one.items, one.strength * weight) for one in evidence.neighbours(item)]
            for item, weight in zip(latest.tolist(), weights, strict=True)
        ]
        return cls(latest, tuple(zip(*found, strict=True)))

    def totals(self) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Return, for each kind of evidence, the items that any of the context speaks for, and the sums."""
        sums = []
        for kind in self.kinds:
            items, place = np.unique(np.concatenate([one.items for one in kind]), return_inverse=True)
            sums.append((items.astype(np.int64), np.bincount(place, np.concatenate([one.strength for one in kind]))))
        return sums

    def source_of(self, items: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return [c] the context's item that speaks most for each item."""
        strength = np.zeros((len(self.context), len(items)), dtype=np.float32)
        for kind in self.kinds:
            part = np.stack([_strengths(one, items) for one in kind])
            strength += part / np.maximum(part.max(initial=0), np.finfo(np.float32).tiny)
        sources: NDArray[np.int32] = self.context[strength.argmax(axis=0)]
        return sources


def _strengths(neighbours: Neighbours, items: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return [c] the strength of each of the items, 0 for those that are no neighbours."""
    if not len(neighbours.items):
        return np.zeros(len(items), dtype=np.float32)
    place = np.minimum(np.searchsorted(neighbours.items, items), len(neighbours.items) - 1)
    return np.where(neighbours.items[place] == items, neighbours.strength[place], np.float32(0))


def blended(
    key: str,
    items: NDArray[np.str_],
    usable: NDArray[np.bool_],
    own: Scored | None,
    related: RelatedItems,
    titles: NDArray[np.str_],
) -> OneVisitor:
    """Return the visitor's items by the sum of reciprocal ranks: of the own scores, and of each kind of evidence."""
    of_own = _NOTHING if own is None else _reciprocal_ranks(own.item, own.score, _OWN)
    of_kinds = [_reciprocal_ranks(*_usable(usable, *total), _RELATED) for total in related.totals()]
    listed, place = np.unique(np.concatenate([of_own[0], *(one[0] for one in of_kinds)]), return_inverse=True)
    own_part, context_part = np.split(place, [len(of_own[0])])
    by_own = np.bincount(own_part, of_own[1], minlength=len(listed))
    ranks = np.concatenate([_NOTHING[1], *(one[1] for one in of_kinds)])
    by_context = np.bincount(context_part, ranks, minlength=len(listed))

    def explain(some: NDArray[np.int32]) -> list[str]:
        at = np.searchsorted(listed, some)
        from_context = by_context[at] >= by_own[at]
        sentences = np.empty(len(some), dtype=object)
        if own is not None and not from_context.all():
            sentences[~from_context] = own.reasons(some[~from_context])
        sources = related.source_of(some[from_context])
        sentences[from_context] = [because(str(titles[source]), clicked=True) for source in sources.tolist()]
        reasons: list[str] = sentences.tolist()
        return reasons

    return OneVisitor(np.array([key]), items, listed, (by_own + by_context).astype(np.float32), explain)


_Ranked = tuple[NDArray[np.int64], NDArray[np.float64]]
_NOTHING: Final[_Ranked] = (np.empty(0, dtype=np.int64), np.empty(0))


def _usable(usable: NDArray[np.bool_], items: NDArray[np.int64], score: NDArray[np.float64]) -> _Ranked:
    kept = usable[items]
    return items[kept], score[kept]


def _reciprocal_ranks(items: NDArray[np.int64], score: NDArray[Any], most: int) -> _Ranked:
    """Return the `most` best items and their reciprocal ranks; equal scores are ranked by position."""
    if len(items) > most:
        best = np.argpartition(-score, most - 1)[:most]
        items, score = items[best], score[best]
    order = np.lexsort((items, -score))
    return items[order], 1 / (RECIPROCAL + 1 + np.arange(len(order)))

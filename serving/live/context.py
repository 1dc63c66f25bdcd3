"""Blends a visitor's own scores with the items of the session; docs/decisions states why by ranks."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.recommenders.explanations.sentences import because
from models.recommenders.item_based.bought_together import RECIPROCAL
from models.recommenders.item_based.item_evidence import ItemEvidence
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
    """How strongly the items of a context speak for each other item."""

    context: NDArray[np.int32]
    """[m] positions, the latest last."""
    rankings: tuple[NDArray[np.float32], ...]
    """[m, n_items] weighted evidence of each kind, at least 0."""

    @classmethod
    def of(cls, evidence: ItemEvidence, context: NDArray[np.int32]) -> "RelatedItems":
        """Return the evidence of the context's latest items."""
        latest = context[-ITEMS:]
        weight = (_OLDER ** np.arange(len(latest))[::-1]).astype(np.float32)[:, None]
        lifts, cosines = evidence.lifts(latest), evidence.cosines(latest)
        together = () if lifts is None else (_logarithms(lifts) * weight,)
        similar = () if cosines is None else (cosines * weight,)
        return cls(latest, (*together, *similar))

    def source_of(self, items: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return [c] the context's item that speaks most for each item."""
        strength = np.zeros((len(self.context), len(items)), dtype=np.float32)
        for ranking in self.rankings:
            part = ranking[:, items]
            strength += part / np.maximum(part.max(initial=0), np.finfo(np.float32).tiny)
        sources: NDArray[np.int32] = self.context[strength.argmax(axis=0)]
        return sources


def _logarithms(lifts: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logarithms; most lifts are 1."""
    made = np.zeros_like(lifts)
    np.log(lifts, out=made, where=lifts > 1)
    return made


def blended(
    key: str,
    items: NDArray[np.str_],
    usable: NDArray[np.bool_],
    own: Scored | None,
    related: RelatedItems,
    titles: NDArray[np.str_],
) -> OneVisitor:
    """Return the visitor's items by the sum of reciprocal ranks: of the own scores, and of each kind of evidence."""
    of_own, of_context = np.zeros(len(items)), np.zeros(len(items))
    if own is not None:
        _add(of_own, own.item, own.score, _OWN)
    for ranking in related.rankings:
        total = np.where(usable, ranking.sum(axis=0), 0)
        found = np.flatnonzero(total > 0)
        _add(of_context, found, total[found], _RELATED)
    score = of_own + of_context
    listed = np.flatnonzero(score > 0)

    def explain(some: NDArray[np.int32]) -> list[str]:
        by_context = of_context[some] >= of_own[some]
        sentences = np.empty(len(some), dtype=object)
        if own is not None and not by_context.all():
            sentences[~by_context] = own.reasons(some[~by_context])
        sources = related.source_of(some[by_context])
        sentences[by_context] = [because(str(titles[source]), clicked=True) for source in sources.tolist()]
        reasons: list[str] = sentences.tolist()
        return reasons

    return OneVisitor(np.array([key]), items, listed, score[listed].astype(np.float32), explain)


def _add(total: NDArray[np.float64], item: NDArray[np.int64], score: NDArray[np.float32], most: int) -> None:
    """Add the reciprocal ranks of the `most` best items; equal scores are ranked by position."""
    if len(item) > most:
        best = np.argpartition(-score, most - 1)[:most]
        item, score = item[best], score[best]
    order = np.lexsort((item, -score))
    total[item[order]] += 1 / (RECIPROCAL + 1 + np.arange(len(order)))

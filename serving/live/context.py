"""Blends a visitor's own scores with the items of the session; docs/decisions states why by ranks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.lists.model_cascade import ScoringModel
from models.primitives.vocabulary import NO_INDEX, position_of
from models.recommenders.explanations.sentences import because
from models.recommenders.item_based.bought_together import RECIPROCAL
from models.recommenders.item_based.item_evidence import ItemEvidence, Together
from models.retrieval.candidate_sources import best_scores
from serving.model.loaded_model import RankedUsers, candidates

_OWN: Final = 500
_RELATED: Final = 200
"""The best candidates of each ranking that are blended: further ones add less than 1/260."""
_OLDER: Final = 0.8
"""The weight of an item of the context relative to the one after it."""
ITEMS: Final = 20
"""The latest items of the context that count."""


class Scored(NamedTuple):
    """The candidates that a model of the cascade has for a visitor."""

    model: ScoringModel
    user: int
    """The visitor's position in the model."""
    item: NDArray[np.int64]
    """[c]"""
    score: NDArray[np.float32]
    """[c]"""

    def reasons(self, items: NDArray[np.int32]) -> list[str]:
        """Return the model's sentence for each item."""
        return self.model.reasons(np.full(len(items), self.user, dtype=np.int32), items)


def own_scores(
    models: Sequence[ScoringModel], key: str, usable: NDArray[np.bool_], ranked: RankedUsers
) -> Scored | None:
    """Return the usable candidates of the first model with any, as the list builder chooses; None without one.

    Those of the champion are remembered in `ranked`.
    """
    for model in models:
        user = position_of(model.users, key)
        if user == NO_INDEX:
            continue
        item, score = ranked.of(user) if model is ranked.model else candidates(model, user)
        known = usable[item] & (score > -np.inf)
        if known.any():
            return Scored(model, user, item[known], score[known])
    return None


@dataclass(frozen=True, eq=False)
class OneVisitor:
    """Items that are scored already, for one visitor."""

    users: NDArray[np.str_]
    """[1] the visitor's key."""
    items: NDArray[np.str_]
    item: NDArray[np.int64]
    """[c] positions, ascending."""
    score: NDArray[np.float32]
    explain: Callable[[NDArray[np.int32]], list[str]]
    """Returns a sentence for each of some items."""

    def ranked(self, users: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Return the pairs: row among the `users`, item and score."""
        rows = np.flatnonzero(users == 0)
        return np.repeat(rows, len(self.item)), np.tile(self.item, len(rows)), np.tile(self.score, len(rows))

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return scores [m, n_items]; -inf for all other items."""
        scores = np.full((len(users), len(self.items)), -np.inf, dtype=np.float32)
        row, item, score = self.ranked(users)
        scores[row, item] = score
        return scores

    def reasons(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]:  # noqa: ARG002
        """Return a sentence for each item."""
        return self.explain(items)


@dataclass(frozen=True, eq=False)
class RelatedItems:
    """How strongly the items of a context speak for other items."""

    context: NDArray[np.int32]
    """[m] positions, the latest last."""
    weights: NDArray[np.float32]
    """[m]"""
    together: tuple[Together, ...]
    """[m] of each item of the context; empty for a model without purchases."""
    evidence: ItemEvidence

    @classmethod
    def of(cls, evidence: ItemEvidence, context: NDArray[np.int32]) -> "RelatedItems":
        """Return the evidence of the context's latest items."""
        latest = context[-ITEMS:]
        weights = (_OLDER ** np.arange(len(latest))[::-1]).astype(np.float32)
        together = [evidence.together(item) for item in latest.tolist()]
        return cls(latest, weights, tuple(one for one in together if one is not None), evidence)

    def totals(self, n_items: int) -> list[NDArray[np.float32]]:
        """Return, for each kind of evidence, [n_items] the weighted sum over the context."""
        kinds = []
        if self.together:
            total = np.zeros(n_items, dtype=np.float32)
            for weight, one in zip(self.weights, self.together, strict=True):
                total[one.items] += one.logarithms * weight
            kinds.append(total)
        cosines = self.evidence.summed_cosines(self.context, self.weights)
        return kinds if cosines is None else [*kinds, cosines]

    def source_of(self, items: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return [c] the context's item that speaks most for each item."""
        strength = np.zeros((len(self.context), len(items)), dtype=np.float32)
        kinds = [np.stack([_among(one, items) for one in self.together])] if self.together else []
        cosines = self.evidence.cosines_between(self.context, items)
        kinds += [] if cosines is None else [cosines]
        for kind in kinds:
            part = kind * self.weights[:, None]
            strength += part / np.maximum(part.max(initial=0), np.finfo(np.float32).tiny)
        sources: NDArray[np.int32] = self.context[strength.argmax(axis=0)]
        return sources


def _among(together: Together, items: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return [c] the logarithm of each item's lift, 0 for a lift of 1."""
    if not len(together.items):
        return np.zeros(len(items), dtype=np.float32)
    place = np.minimum(np.searchsorted(together.items, items), len(together.items) - 1)
    return np.where(together.items[place] == items, together.logarithms[place], np.float32(0))


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
    totals = [total * usable for total in related.totals(len(items))]
    # The fewer are sorted, the better: most items have nothing in common with the context.
    positive = [np.flatnonzero(total > 0) for total in totals]
    of_kinds = [_reciprocal_ranks(at, total[at], _RELATED) for at, total in zip(positive, totals, strict=True)]
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


def _reciprocal_ranks(items: NDArray[np.int64], score: NDArray[np.float32], most: int) -> _Ranked:
    """Return the best items and their reciprocal ranks; equal scores are ranked by position."""
    best = best_scores(np.ascontiguousarray(score[None]), most)
    listed = items[best.places[best.scores > -np.inf]]
    return listed, 1 / (RECIPROCAL + 1 + np.arange(len(listed)))

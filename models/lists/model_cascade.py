"""Fallback chain: the first model with a score for a user serves that user.

Each kind of model is asked for candidates and reasons in the cheapest way that the model offers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from models.datasets.cold_start import NewUsers
from models.lists.constrained_selection import Selection
from models.primitives.state import Lookup
from models.primitives.vocabulary import NO_INDEX
from models.recommenders.baselines.segment_popular import SegmentPopular
from models.recommenders.explanations.sentences import PICKED, VIEWED, ReasonsFromCodes, popular_reasons
from models.recommenders.protocols import MIX, FoldsInUsers, Recommender, head_of
from models.retrieval.candidate_sources import (
    CandidateSource,
    DenseSource,
    Factored,
    FactorSource,
    PairSource,
    products,
)

KINDS: Final = ("content_based", "graph_filter", "item_knn")
"""Models that score new users by their clicks alone; the others start from the mean user."""


@dataclass(frozen=True)
class ClickPrior:
    """A model of new users whose clicks are weighed against general popularity.

    A score is the item's share of all purchases, plus for each click `own` if the item is the clicked one, plus the
    item's share of the model's scores times `alike`. Few clicks move the score little (a Dirichlet prior, as in
    language models: Zhai and Lafferty 2001). Users without clicks are scored by the model alone.
    """

    model: Recommender
    clicks: Any
    """float32 CSR, the model's users x items."""
    popularity: NDArray[np.float32]
    """[n_items] at least 0."""
    own: float = 0.01
    alike: float = 0.1
    """Both chosen on validation weeks of the Complete Journey."""
    buyers: NDArray[np.int32] | None = None
    """[n_items] users who bought each item in recent days; without them the reason of popular items claims nothing."""

    @property
    def users(self) -> NDArray[np.str_]:
        """The model's."""
        return self.model.users

    @property
    def items(self) -> NDArray[np.str_]:
        """The model's."""
        return self.model.items

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return the sums; -inf for items without purchases, clicks and a score of the model."""
        scores = self.model.scores(users)
        for row, user in enumerate(users.tolist()):
            if user >= 0 and self.clicks.indptr[user] < self.clicks.indptr[user + 1]:
                total = self._parts(user, scores[row]).sum(axis=0)
                scores[row] = np.where(total > 0, total, np.float32(-np.inf))
        return scores

    def reasons(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]:
        """Return the reason of the greatest of the three parts."""
        sentences = np.array(self.model.reasons(users, items), dtype=object)
        buyers = np.zeros(len(self.items), dtype=np.int32) if self.buyers is None else self.buyers
        for user in np.unique(users[users >= 0]):
            rows = np.flatnonzero(users == user)
            if self.clicks.indptr[user] < self.clicks.indptr[user + 1]:
                scores = self.model.scores(np.array([user], dtype=np.int32))[0]
                greatest = self._parts(int(user), scores)[:, items[rows]].argmax(axis=0)
                sentences[rows[greatest == 0]] = popular_reasons(buyers, items[rows[greatest == 0]])
                sentences[rows[greatest == 1]] = VIEWED
        reasons: list[str] = sentences.tolist()
        return reasons

    def _parts(self, user: int, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return [3, n_items] popularity, the own clicks and the model."""
        own = slice(self.clicks.indptr[user], self.clicks.indptr[user + 1])
        clicked = np.zeros_like(scores)
        clicked[self.clicks.indices[own]] = self.clicks.data[own]
        alike = clicked.sum() * _shares(np.maximum(scores, 0))
        return np.stack([_shares(self.popularity), self.own * clicked, self.alike * alike]).astype(np.float32)


def _shares(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    total = float(weights.sum())
    return weights / np.float32(total) if total > 0 else weights


class ScoringModel(Protocol):
    """The part of a `Recommender` that a cascade needs; see there."""

    @property
    def users(self) -> NDArray[np.str_]: ...

    @property
    def items(self) -> NDArray[np.str_]: ...

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]: ...

    def reasons(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]: ...


@dataclass(frozen=True)
class ModelCascade:
    """Models of the same items, the best informed first."""

    models: tuple[ScoringModel, ...]


def build_cascade(
    model: Recommender,
    segments: SegmentPopular | None,
    fallback: NDArray[np.float32],
    new: NewUsers | None = None,
    buyers: NDArray[np.int32] | None = None,
    policy: str = MIX,
) -> ModelCascade:
    """Return the champion's head for a policy, followed by the best sellers of the user's segment.

    If there are `new` users, the champion and the segments score them too, as far as they support it.
    """
    model = head_of(model, policy)
    models: list[ScoringModel] = [model]
    new_users = new if new is not None and len(new.keys) else None
    if isinstance(model, FoldsInUsers) and new_users is not None:
        folded = model.with_users(new_users)
        shrunk = model.kind in KINDS
        models.append(ClickPrior(folded, new_users.events, fallback, buyers=buyers) if shrunk else folded)
    if segments is not None:
        models.append(segments)
        models += [segments.with_users(new_users)] if new_users is not None else []
    return ModelCascade(tuple(models))


Rows = NDArray[np.int64]
SourceOfRows = Callable[[Rows], CandidateSource]


@runtime_checkable
class RanksPairs(Protocol):
    """A model that returns scores only for the few items that are candidates of a user."""

    def ranked(self, users: NDArray[np.int32]) -> tuple[Rows, Rows, NDArray[np.float32]]:
        """Return pairs in order of row and item: row among the `users`, item and score."""


def candidate_source_for(
    model: ScoringModel | None,
    users: NDArray[np.int32],
    allowed: NDArray[np.bool_],
    due: Any = None,
    fallback: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.bool_], SourceOfRows]:
    """Return [m] which users (positions in the model) have an `allowed` candidate, and a source for some of them.

    With `due` (boolean CSR, m x n_items) nothing else is a candidate; without a model the `fallback` then ranks it.
    """
    if due is not None:
        return _of_pairs(len(users), *_due(model, users, due, fallback), allowed)
    if model is None:
        empty = np.empty(0, dtype=np.int64)
        return _of_pairs(len(users), empty, empty, np.empty(0, dtype=np.float32), allowed)
    if isinstance(model, RanksPairs):
        return _of_pairs(len(users), *model.ranked(users), allowed)
    if isinstance(model, Factored):
        queries, vectors = model.queries(users), model.item_vectors
        least = float(getattr(model, "least_score", -np.inf))
        return np.asarray(~np.isnan(queries).any(axis=1)), lambda rows: FactorSource(vectors, queries[rows], least)
    scores = model.scores(users)
    scored = np.asarray(((scores > -np.inf) & allowed).any(axis=1))
    return scored, lambda rows: DenseSource(scores if len(rows) == len(scores) else scores[rows])


def _of_pairs(
    m: int, row: Rows, item: Rows, score: NDArray[np.float32], allowed: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], SourceOfRows]:
    usable = (score > -np.inf) & allowed[item]
    row, item, score = row[usable], item[usable], score[usable]
    scored = np.zeros(m, dtype=bool)
    scored[row] = True

    def source(rows: Rows) -> CandidateSource:
        place = np.full(m, NO_INDEX)
        place[rows] = np.arange(len(rows))
        own = place[row] != NO_INDEX
        return PairSource.of(len(rows), place[row[own]], item[own], score[own])

    return scored, source


def _due(
    model: ScoringModel | None, users: NDArray[np.int32], due: Any, fallback: NDArray[np.float32] | None
) -> tuple[Rows, Rows, NDArray[np.float32]]:
    """Return the due pairs in order of row and item with the model's score of each; -inf if it has none."""
    row, item = (part.astype(np.int64) for part in due.tocoo().coords)
    if model is None:
        score = np.full(len(row), -np.inf, dtype=np.float32) if fallback is None else fallback[item]
    elif isinstance(model, RanksPairs):
        ranked_row, ranked_item, ranked_score = model.ranked(users)
        scores = Lookup.of(ranked_row, ranked_item, due.shape[1], ranked_score[:, None])
        score = scores.find(row, item, -np.inf)[:, 0]
    elif isinstance(model, Factored):
        score = np.nan_to_num(products(model.queries(users), model.item_vectors, row, item), nan=-np.inf)
    else:
        score = model.scores(users)[row, item]
    return row, item, score.astype(np.float32)


class Filler(NamedTuple):
    """Reasons of items that the fallback adds to a list."""

    codes: NDArray[np.int32]
    """[n_items] positions among the sentences."""
    texts: list[str]


def reasons_of(
    model: ScoringModel | None, users: NDArray[np.int32], selection: Selection, filler: Filler
) -> tuple[NDArray[np.int32], list[str]]:
    """Return [m, k] positions among the sentences, -1 if there is no item; `filler` explains the fallback's items."""
    texts = [PICKED, *filler.texts]
    filled = np.where(selection.items >= 0, filler.codes[selection.items] + 1, NO_INDEX)
    reasons = np.where(selection.picked, 0, filled).astype(np.int32)
    row, place = np.nonzero((selection.items >= 0) & ~selection.from_fallback)
    if model is None or not len(row):
        return reasons, texts
    pairs = users[row], selection.items[row, place]
    if isinstance(model, ReasonsFromCodes):
        codes, own = model.reason_codes(*pairs)
        reasons[row, place] = codes + len(texts)
        return reasons, [*texts, *own]
    code = {text: at for at, text in enumerate(texts)}
    reasons[row, place] = [code.setdefault(text, len(code)) for text in model.reasons(*pairs)]
    return reasons, list(code)

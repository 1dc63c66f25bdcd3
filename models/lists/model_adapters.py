"""Asks each kind of model for candidates and reasons in the cheapest way that the model offers."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from models.lists.constrained_selection import Selection
from models.lists.model_cascade import ScoringModel
from models.primitives.pair_table import Lookup
from models.primitives.vocabulary import NO_INDEX
from models.recommenders.explanations.sentences import PICKED
from models.retrieval.candidate_sources import (
    CandidateSource,
    DenseSource,
    Factored,
    FactorSource,
    PairSource,
    products,
)

Rows = NDArray[np.int64]
SourceOfRows = Callable[[Rows], CandidateSource]


@runtime_checkable
class RanksPairs(Protocol):
    """A model that returns scores only for the few items that are candidates of a user."""

    def ranked(self, users: NDArray[np.int32]) -> tuple[Rows, Rows, NDArray[np.float32]]:
        """Return pairs in order of row and item: row among the `users`, item and score."""


@runtime_checkable
class ReasonsInCodes(Protocol):
    """A model with few different reasons: a number per pair is cheaper than a sentence per pair."""

    def reason_codes(
        self, users: NDArray[np.int32], items: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], Sequence[str]]:
        """Return [n] positions among the sentences, and the sentences."""


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
    if isinstance(model, ReasonsInCodes):
        codes, own = model.reason_codes(*pairs)
        reasons[row, place] = codes + len(texts)
        return reasons, [*texts, *own]
    code = {text: at for at, text in enumerate(texts)}
    reasons[row, place] = [code.setdefault(text, len(code)) for text in model.reasons(*pairs)]
    return reasons, list(code)

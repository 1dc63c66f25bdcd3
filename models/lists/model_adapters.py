"""How each kind of model is asked for candidates and for reasons, in the cheapest way that it offers."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from models.lists.constrained_selection import Selected
from models.lists.model_cascade import ScoringModel
from models.primitives.pair_table import Lookup
from models.primitives.vocabulary import NO_INDEX
from models.recommenders.explanations.sentences import PICKED
from models.retrieval.candidate_sources import DenseSource, Factored, FactorSource, PairSource
from models.retrieval.exact_top_k import products
from models.retrieval.source_protocols import CandidateSource

Rows = NDArray[np.int64]


@runtime_checkable
class RanksPairs(Protocol):
    """A model that names the few items it has anything to say about."""

    def ranked(self, users: NDArray[np.int32]) -> tuple[Rows, Rows, NDArray[np.float32]]:
        """Pairs in order of row and item: row among the `users`, item and score."""


@runtime_checkable
class ReasonsInCodes(Protocol):
    """A model of few different reasons: a number a pair is cheaper than a sentence a pair."""

    def reason_codes(
        self, users: NDArray[np.int32], items: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], Sequence[str]]:
        """[n] positions among the sentences, and the sentences."""


def candidate_source_for(
    speaker: ScoringModel | None,
    users: NDArray[np.int32],
    allowed: NDArray[np.bool_],
    due: Any = None,
    fallback: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.bool_], Callable[[Rows], CandidateSource]]:
    """[m] of which of the users (positions in the speaker) it names anything `allowed`; and candidates of some of them.

    With `due` (boolean CSR, m x n_items) nothing else is a candidate; nobody (None) then speaks by the `fallback`.
    """
    if due is not None:
        return _of_pairs(len(users), *_due(speaker, users, due, fallback), allowed)
    if speaker is None:
        nothing = np.empty(0, dtype=np.int64)
        return _of_pairs(len(users), nothing, nothing, np.empty(0, dtype=np.float32), allowed)
    if isinstance(speaker, RanksPairs):
        return _of_pairs(len(users), *speaker.ranked(users), allowed)
    if isinstance(speaker, Factored):
        queries, vectors = speaker.queries(users), speaker.item_vectors
        return np.asarray(~np.isnan(queries).any(axis=1)), lambda rows: FactorSource(vectors, queries[rows])
    scores = speaker.scores(users)
    spoken = np.asarray(((scores > -np.inf) & allowed).any(axis=1))
    return spoken, lambda rows: DenseSource(scores if len(rows) == len(scores) else scores[rows])


def _of_pairs(
    m: int, row: Rows, item: Rows, score: NDArray[np.float32], allowed: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], Callable[[Rows], CandidateSource]]:
    said = (score > -np.inf) & allowed[item]
    row, item, score = row[said], item[said], score[said]
    spoken = np.zeros(m, dtype=bool)
    spoken[row] = True

    def shelf(rows: Rows) -> CandidateSource:
        place = np.full(m, NO_INDEX)
        place[rows] = np.arange(len(rows))
        mine = place[row] != NO_INDEX
        return PairSource.of(len(rows), place[row[mine]], item[mine], score[mine])

    return spoken, shelf


def _due(
    speaker: ScoringModel | None, users: NDArray[np.int32], due: Any, fallback: NDArray[np.float32] | None
) -> tuple[Rows, Rows, NDArray[np.float32]]:
    """The pairs that are due, in order of row and item, and what the speaker says of each; -inf for nothing."""
    row, item = (part.astype(np.int64) for part in due.tocoo().coords)
    if speaker is None:
        score = np.full(len(row), -np.inf, dtype=np.float32) if fallback is None else fallback[item]
    elif isinstance(speaker, RanksPairs):
        said_row, said_item, said = speaker.ranked(users)
        score = Lookup.of(said_row, said_item, due.shape[1], said[:, None]).find(row, item, -np.inf)[:, 0]
    elif isinstance(speaker, Factored):
        score = np.nan_to_num(products(speaker.queries(users), speaker.item_vectors, row, item), nan=-np.inf)
    else:
        score = speaker.scores(users)[row, item]
    return row, item, score.astype(np.float32)


class Filler(NamedTuple):
    """Reasons of items that fill a list up."""

    codes: NDArray[np.int32]
    """[n_items] positions among the sentences."""
    texts: list[str]


def reasons_of(
    speaker: ScoringModel | None, users: NDArray[np.int32], chosen: Selected, filler: Filler
) -> tuple[NDArray[np.int32], list[str]]:
    """[m, k] positions among the sentences, -1 where there is no item; `filler` is for what filled a list up."""
    texts = [PICKED, *filler.texts]
    filled = np.where(chosen.items >= 0, filler.codes[chosen.items] + 1, NO_INDEX)
    reasons = np.where(chosen.picked, 0, filled).astype(np.int32)
    row, place = np.nonzero((chosen.items >= 0) & ~chosen.from_fallback)
    if speaker is None or not len(row):
        return reasons, texts
    pairs = users[row], chosen.items[row, place]
    if isinstance(speaker, ReasonsInCodes):
        codes, own = speaker.reason_codes(*pairs)
        reasons[row, place] = codes + len(texts)
        return reasons, [*texts, *own]
    code = {text: at for at, text in enumerate(texts)}
    reasons[row, place] = [code.setdefault(text, len(code)) for text in speaker.reasons(*pairs)]
    return reasons, list(code)

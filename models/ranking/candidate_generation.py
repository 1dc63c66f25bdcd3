"""First stage: the few hundred items a user may want, found by models that score the whole catalogue fast."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.datasets.training_data import TrainingData
from models.primitives.csr import entries
from models.primitives.state import State, part_of, under
from models.primitives.vocabulary import NO_INDEX
from models.recommenders.als import ImplicitALS
from models.recommenders.baselines.most_popular import MostPopular, popularity
from models.recommenders.baselines.own_frequency import OwnFrequency
from models.recommenders.content_based import ContentBased
from models.recommenders.protocols import Recommender
from models.retrieval.candidate_query import CandidatePairs, CandidateScope


class Retriever(Recommender, Protocol):
    """A model that names candidates without scoring the whole catalogue."""

    def top_candidates(self, users: NDArray[np.int32], scope: CandidateScope, n: int) -> CandidatePairs:
        """The n items that score best of each user, ties by position: some of those `among` which candidates are
        sought and which are not hidden from him, or, from a model of what he buys again, of his own."""

    def pair_scores(self, users: NDArray[np.int32], items: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """[n] what `scores` says of pairs."""


RETRIEVERS: Final[Mapping[str, type[Retriever]]] = {
    model.kind: model for model in (OwnFrequency, ImplicitALS, ContentBased, MostPopular)
}
"""The models that can be retrievers, by kind."""


class ScoredCandidates(NamedTuple):
    """Candidates of m users, in order of user and item, no pair twice."""

    row: NDArray[np.int64]
    """[n] position among the users that were asked."""
    item: NDArray[np.int64]
    scores: NDArray[np.float32]
    """[n, retrievers] what each retriever says of the pair; NaN where it has nothing to say."""

    def at(self, rows: NDArray[Any] | slice) -> "ScoredCandidates":
        """Some of them."""
        return ScoredCandidates(self.row[rows], self.item[rows], self.scores[rows])


@dataclass(frozen=True)
class Candidates:
    """Fitted retrievers, and how many items each may name.

    Own frequency names what the user has bought; the others are asked for what he has not, for that would crowd
    everything else out.
    """

    retrievers: Mapping[str, Retriever]
    per_retriever: int
    history: Any
    """Boolean CSR, users x items."""
    shelf: NDArray[np.int64]
    """Positions of the items among which news is sought, ascending."""

    @classmethod
    def fit(cls, data: TrainingData, kinds: tuple[str, ...], per_retriever: int, shelf: int, seed: int) -> Self:
        """Fit each retriever with its default settings; news is sought among the `shelf` best sellers of late."""
        models = {kind: RETRIEVERS[kind] for kind in kinds}
        fitted = {kind: model.fit(data, model.config_type(), seed) for kind, model in models.items()}
        sold = np.argsort(-popularity(data), kind="stable")[:shelf]
        return cls(fitted, per_retriever, data.history(), np.sort(sold))

    def find(self, users: NDArray[np.int32]) -> ScoredCandidates:
        """The union of what the retrievers name; nothing for strangers. Memory is bounded by m x candidates."""
        n, scope = self.history.shape[1], self._among(users)
        pairs = [model.top_candidates(users, scope, self.per_retriever) for model in self.retrievers.values()]
        row, item = np.divmod(np.unique(np.concatenate([one.row * n + one.item for one in pairs])), n)
        said = np.column_stack([model.pair_scores(users[row], item) for model in self.retrievers.values()])
        said[np.isinf(said)] = np.nan
        return ScoredCandidates(row, item, said)

    def _among(self, users: NDArray[np.int32]) -> CandidateScope:
        """The shelf, on which what a user has bought is hidden from him."""
        own = entries(self.history.indptr, users)
        place = self._place[self.history.indices[own.at]]
        return CandidateScope(self.shelf, own.row[place != NO_INDEX], place[place != NO_INDEX])

    @cached_property
    def _place(self) -> NDArray[np.int64]:
        """[n_items] where each stands on the shelf; -1 elsewhere."""
        place = np.full(self.history.shape[1], NO_INDEX)
        place[self.shelf] = np.arange(len(self.shelf))
        return place

    def bought(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> NDArray[np.bool_]:
        """[m] for each pair whether it is in the history; a stranger (-1) has none."""
        if not len(users):  # SciPy takes an empty position for one of fractions
            return np.zeros(0, dtype=bool)
        known: NDArray[np.bool_] = self.history[np.maximum(users, 0), items]
        return known & (users >= 0)

    def state(self) -> State:
        """The arrays of every retriever, prefixed with its kind, and the history."""
        arrays: State = {}
        for kind, model in self.retrievers.items():
            arrays |= under(f"{kind}.", model.state())
        history = {"history.indices": self.history.indices, "history.indptr": self.history.indptr}
        return arrays | history | {"shelf": self.shelf}

    @classmethod
    def from_state(
        cls, state: Mapping[str, np.ndarray[Any, Any]], kinds: tuple[str, ...], per_retriever: int, n_items: int
    ) -> Self:
        """What gave that state."""
        models = {kind: RETRIEVERS[kind] for kind in kinds}
        retrievers = {
            kind: model.from_state(model.config_type(), part_of(f"{kind}.", state)) for kind, model in models.items()
        }
        indices, indptr = state["history.indices"], state["history.indptr"]
        bought = np.ones(len(indices), dtype=bool)
        history = sparse.csr_array((bought, indices, indptr), shape=(len(indptr) - 1, n_items))
        return cls(retrievers, per_retriever, history, state["shelf"])

"""First stage: retrieves a few hundred items per user by models that score the whole catalogue fast."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.primitives.distinct import distinct
from models.primitives.state import State, entries, part_of, under
from models.primitives.vocabulary import NO_INDEX
from models.recommenders.als import ImplicitALS
from models.recommenders.baselines.most_popular import MostPopular, popularity
from models.recommenders.baselines.own_frequency import OwnFrequency
from models.recommenders.content_based import ContentBased
from models.recommenders.protocols import Recommender
from models.recommenders.sequence import network_settings as sequence
from models.recommenders.sequence.model import SequenceModel
from models.retrieval.candidate_query import CandidatePairs, CandidateScope

if TYPE_CHECKING:
    from models.datasets.training_data import TrainingData


class Retriever(Recommender, Protocol):
    """A model that returns candidates without a row of scores for the whole catalogue."""

    def top_candidates(self, users: NDArray[np.int32], scope: CandidateScope, n: int) -> CandidatePairs:
        """Return the n best items of each user in the scope, ties by position, without those hidden from the user.

        A model of repeat purchases returns the user's own items instead.
        """

    def pair_scores(self, users: NDArray[np.int32], items: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return [n] the scores of pairs."""


class Movable(Retriever, Protocol):
    """A retriever that learns slowly, and serves later moments without learning again."""

    def moved_to(self, data: "TrainingData") -> Self:
        """Return the model of the users and items of later data."""


RETRIEVERS: Final[Mapping[str, type[Retriever]]] = {
    model.kind: model for model in (OwnFrequency, ImplicitALS, ContentBased, MostPopular, SequenceModel)
}
"""The models that can be retrievers, by kind."""


NO_MODELS: Final[Mapping[str, Movable]] = {}
SETTINGS: Final[Mapping[str, Any]] = {
    SequenceModel.kind: sequence.Config(
        blocks=1,
        batch=16,
        learning_rate=0.004,
        epochs=5,
        negatives=300,
        negative_exponent=1.0,
        repeats=False,
        horizon_days=0.0,
        averaged=False,
    )
}
"""Settings of retrievers that are not the model's defaults. The ranker has features of own items."""


def fitted_retriever(kind: str, data: "TrainingData", seed: int) -> Any:
    """Return a retriever that has learned from the data."""
    return RETRIEVERS[kind].fit(data, settings_of(kind), seed)


def settings_of(kind: str) -> Any:
    """Return the settings of a retriever."""
    return SETTINGS.get(kind) or RETRIEVERS[kind].config_type()


class ScoredCandidates(NamedTuple):
    """Candidates of m users, in order of user and item, no pair twice."""

    row: NDArray[np.int64]
    """[n] position among the users of the query."""
    item: NDArray[np.int64]
    scores: NDArray[np.float32]
    """[n, retrievers] each retriever's score of the pair; NaN if it has none."""

    def at(self, rows: NDArray[Any] | slice) -> "ScoredCandidates":
        """Return some of the candidates."""
        return ScoredCandidates(self.row[rows], self.item[rows], self.scores[rows])


@dataclass(frozen=True)
class Candidates:
    """Fitted retrievers, and how many items each may return.

    Own frequency returns the user's purchases. The others return only items that the user has not bought, because
    purchases would crowd out everything else.
    """

    retrievers: Mapping[str, Retriever]
    per_retriever: int
    history: Any
    """Boolean CSR, users x items."""
    recent_items: NDArray[np.int64]
    """Positions of the items among which new items are sought, ascending."""

    @classmethod
    def fit(
        cls,
        data: "TrainingData",
        kinds: tuple[str, ...],
        per_retriever: int,
        n_recent: int,
        seed: int,
        earlier: Mapping[str, Movable] = NO_MODELS,
    ) -> Self:
        """Fit each retriever, and find the `n_recent` best sellers of recent days.

        Settings are the default ones. Models learned `earlier` are moved to the data instead.
        """
        fitted = {
            kind: earlier[kind].moved_to(data) if kind in earlier else fitted_retriever(kind, data, seed)
            for kind in kinds
        }
        sold = np.argsort(-popularity(data), kind="stable")[:n_recent]
        return cls(fitted, per_retriever, data.history(), np.sort(sold))

    def find(self, users: NDArray[np.int32]) -> ScoredCandidates:
        """Return the union of the retrievers' candidates; none for strangers. Memory is bounded by m x candidates."""
        n, scope = self.history.shape[1], self._new_items(users)
        pairs = [model.top_candidates(users, scope, self.per_retriever) for model in self.retrievers.values()]
        row, item = np.divmod(distinct(np.concatenate([one.row * n + one.item for one in pairs])), n)
        scores = np.column_stack([model.pair_scores(users[row], item) for model in self.retrievers.values()])
        scores[np.isinf(scores)] = np.nan
        return ScoredCandidates(row, item, scores)

    def _new_items(self, users: NDArray[np.int32]) -> CandidateScope:
        """Return the scope of new items: a user's purchases are hidden from that user."""
        own = entries(self.history.indptr, users)
        place = self._place[self.history.indices[own.at]]
        return CandidateScope(self.recent_items, own.row[place != NO_INDEX], place[place != NO_INDEX])

    @cached_property
    def _place(self) -> NDArray[np.int64]:
        """[n_items] place of each in `recent_items`; -1 elsewhere."""
        place = np.full(self.history.shape[1], NO_INDEX)
        place[self.recent_items] = np.arange(len(self.recent_items))
        return place

    def bought(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Return [m] for each pair whether it is in the history; a stranger (-1) has none."""
        if not len(users):  # SciPy treats an empty index as one of floats
            return np.zeros(0, dtype=bool)
        if (users == users[0]).all():
            return np.isin(items, self.history.indices[entries(self.history.indptr, users[:1]).at])
        known: NDArray[np.bool_] = self.history[np.maximum(users, 0), items]
        return known & (users >= 0)

    def state(self) -> State:
        """Return the arrays of every retriever, prefixed with its kind, and the history."""
        arrays: State = {}
        for kind, model in self.retrievers.items():
            arrays |= under(f"{kind}.", model.state())
        history = {"history.indices": self.history.indices, "history.indptr": self.history.indptr}
        return arrays | history | {"shelf": self.recent_items}

    @classmethod
    def from_state(
        cls, state: Mapping[str, np.ndarray[Any, Any]], kinds: tuple[str, ...], per_retriever: int, n_items: int
    ) -> Self:
        """Return the candidates of that state."""
        retrievers = {
            kind: RETRIEVERS[kind].from_state(settings_of(kind), part_of(f"{kind}.", state)) for kind in kinds
        }
        indices, indptr = state["history.indices"], state["history.indptr"]
        bought = np.ones(len(indices), dtype=bool)
        history = sparse.csr_array((bought, indices, indptr), shape=(len(indptr) - 1, n_items))
        return cls(retrievers, per_retriever, history, state["shelf"])

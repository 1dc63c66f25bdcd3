"""First stage: the few hundred items a user may want, found by models that score the whole catalogue fast."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.als import ImplicitALS
from models.content_based import ContentBased
from models.most_popular import MostPopular, popularity
from models.nested_state import part_of, under
from models.own_frequency import OwnFrequency
from models.ranking import NOBODY, places, top_k
from models.recommender import Recommender, State
from models.training_data import TrainingData

RETRIEVERS: Final[Mapping[str, type[Recommender]]] = {
    model.kind: model for model in (OwnFrequency, ImplicitALS, ContentBased, MostPopular)
}
"""The models that can be retrievers, by kind."""


class Found(NamedTuple):
    """Candidates of m users, in order of user and item, no pair twice."""

    row: NDArray[np.int64]
    """[n] position among the users that were asked."""
    item: NDArray[np.int64]
    scores: NDArray[np.float32]
    """[n, retrievers] what each retriever says of the pair; NaN where it has nothing to say."""

    def at(self, rows: NDArray[Any]) -> "Found":
        """Some of them."""
        return Found(self.row[rows], self.item[rows], self.scores[rows])


@dataclass(frozen=True)
class Candidates:
    """Fitted retrievers, and how many items each may name.

    Own frequency names what the user has bought; the others are asked for what he has not, for that would crowd
    everything else out.
    """

    retrievers: Mapping[str, Recommender]
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

    def find(self, users: NDArray[np.int32]) -> Found:
        """The union of what the retrievers name. Memory is about m x n_items x 4 bytes a retriever."""
        own = self.history[np.maximum(users, 0)]
        scored = [model.scores(users) for model in self.retrievers.values()]
        named = [self._named(own, kind, scores) for kind, scores in zip(self.retrievers, scored, strict=True)]
        row, item = np.divmod(np.unique(np.concatenate(named)), own.shape[1])
        said = np.column_stack([scores[row, item] for scores in scored])
        said[np.isinf(said)] = np.nan
        return Found(row, item, said)

    def _named(self, own: Any, kind: str, scores: NDArray[np.float32]) -> NDArray[np.int64]:
        """Codes (row x n_items + item) of the best by these scores: of the user's own items, or of the others."""
        row, n = np.arange(len(scores))[:, None], own.shape[1]
        if kind == OwnFrequency.kind:
            row, item = own.nonzero()
            best = np.lexsort((item, -scores[row, item], row))
            kept = best[places(row) < self.per_retriever]
            mine: NDArray[np.int64] = row[kept].astype(np.int64) * n + item[kept]
            return mine
        ranked = top_k(scores[:, self.shelf], self.per_retriever, hide=own[:, self.shelf]).items
        others: NDArray[np.int64] = (row * n + self.shelf[ranked])[ranked != NOBODY]
        return others

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

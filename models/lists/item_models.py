"""Models of lists about items: their users are items, and their candidates are what goes with the item."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from models.recommenders.explanations.sentences import together
from models.recommenders.explanations.similarity import SimilarityReasons
from models.recommenders.item_based.bought_together import BoughtTogether
from models.recommenders.item_based.similar_items import SimilarItems

if TYPE_CHECKING:
    from models.datasets.training_data import TrainingData

_SEED: Final = 7
LEAST_SIMILARITY: Final = 0.05
"""Cosine below which two items have nothing in common: without it a list would continue in order of ids."""
Pairs = NDArray[np.int32]
Codes = tuple[NDArray[np.int32], list[str]]


class _SentencesFromCodes:
    def reason_codes(self, users: Pairs, items: Pairs) -> Codes:
        raise NotImplementedError

    def reasons(self, users: Pairs, items: Pairs) -> list[str]:
        """Return one sentence per pair."""
        codes, texts = self.reason_codes(users, items)
        return [texts[code] for code in codes.tolist()]


@dataclass(frozen=True)
class SimilarToItem(_SentencesFromCodes):
    """Ranks by the similarity of titles and tags."""

    similar: SimilarItems
    explanations: SimilarityReasons
    least_score: float = LEAST_SIMILARITY

    @classmethod
    def fit(cls, data: "TrainingData") -> "SimilarToItem":
        """Learn the items' vectors."""
        return cls(SimilarItems.fit(data, _SEED), SimilarityReasons.fit(data))

    @property
    def users(self) -> NDArray[np.str_]:
        """The items that get a list."""
        return self.similar.items

    @property
    def items(self) -> NDArray[np.str_]:
        """The items on the lists."""
        return self.similar.items

    @property
    def item_vectors(self) -> NDArray[np.float32]:
        """[n_items, d]"""
        return self.similar.vectors

    def queries(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return [m, d] the vectors of the items that get a list."""
        return self.similar.vectors[users]

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return cosines [m, n_items]; -inf below the least score and for unknown items."""
        cosines = np.nan_to_num(self.queries(users) @ self.item_vectors.T, nan=-np.inf)
        return np.where(cosines < self.least_score, np.float32(-np.inf), cosines)

    def reason_codes(self, users: Pairs, items: Pairs) -> Codes:
        """Return [n] positions among the sentences, and the sentences."""
        return self.explanations.reasons(users.astype(np.int64), items)


@dataclass(frozen=True)
class BoughtWithItem(_SentencesFromCodes):
    """Ranks by the lift of common baskets."""

    together: BoughtTogether

    @classmethod
    def fit(cls, data: "TrainingData") -> "BoughtWithItem":
        """Count the baskets of all pairs."""
        return cls(BoughtTogether.fit(data))

    @property
    def users(self) -> NDArray[np.str_]:
        """The items that get a list."""
        return self.together.items

    @property
    def items(self) -> NDArray[np.str_]:
        """The items on the lists."""
        return self.together.items

    def ranked(self, users: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Return the pairs with a lift above 1: row among `users`, item and lift."""
        pairs: Any = self.together.lift[users].tocoo()
        row, item = (part.astype(np.int64) for part in pairs.coords)
        return row, item, pairs.data

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return lifts [m, n_items]; -inf for items that are not bought together."""
        scores = np.full((len(users), len(self.items)), -np.inf, dtype=np.float32)
        row, item, lift = self.ranked(users)
        scores[row, item] = lift
        return scores

    def reason_codes(self, users: Pairs, items: Pairs) -> Codes:
        """Return [n] positions among the sentences, and the sentences."""
        counts = np.column_stack(self.together.baskets(users.astype(np.int64), items))
        different, code = np.unique(counts, axis=0, return_inverse=True)
        return code.ravel().astype(np.int32), [together(*pair) for pair in different.tolist()]

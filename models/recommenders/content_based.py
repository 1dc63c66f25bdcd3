"""Content-based: items similar to purchases by titles and attributes (Pazzani and Billsus 2007)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.datasets.interaction_matrix import baskets, rows
from models.features.encoding.item_tfidf import ItemVectors, Weights
from models.primitives.state import Arrays, Part, StoredModel, entries, matrix, parts, whole
from models.recommenders.explanations.evidence import WHY, CategoryReasons, unit
from models.recommenders.explanations.sentences import ReasonsFromCodes
from models.recommenders.search_space import Float, Parameter
from models.retrieval.candidate_query import CandidatePairs, CandidateScope, PreparesScopes, best_by_scores

if TYPE_CHECKING:
    from models.datasets.cold_start import NewUsers
    from models.datasets.training_data import TrainingData


def _vectors(state: Arrays) -> Any:
    width = len(state["words"]) + len(state["rules.names"])
    return whole("vectors", state, (len(state["items"]), width))


@dataclass(frozen=True)
class Config:
    """Settings of ContentBased."""

    title_weight: float = 1.0
    """Weight of the words of titles."""
    category_weight: float = 1.0
    """Weight of the levels of the category path."""
    attribute_weight: float = 0.3
    """Weight of brand and other attributes."""
    half_life_days: float = 90.0
    """A basket this old counts half in the user's profile."""


@dataclass(frozen=True)
class ContentBased(StoredModel, PreparesScopes, ReasonsFromCodes):
    """The score is the cosine between the item's vector and the mean vector of the user's decayed baskets.

    Profiles are computed on use: a user's baskets are fewer numbers than the mean of their vectors.
    """

    kind: ClassVar[str] = "content_based"
    config_type: ClassVar[type[Config]] = Config
    space: ClassVar[Mapping[str, Parameter]] = {
        "title_weight": Float(0.1, 3, log=True),
        "category_weight": Float(0.1, 3, log=True),
        "attribute_weight": Float(0.03, 3, log=True),
        "half_life_days": Float(14, 365, log=True),
    }

    stored: ClassVar[Mapping[str, Part]] = {
        "language": Part(ItemVectors.state, ItemVectors.from_state),
        "vectors": Part(partial(parts, "vectors"), _vectors),
        "baskets": matrix("baskets", "users"),
        "why": WHY,
    }

    language: ItemVectors
    vectors: Any
    """float32 CSR, items x words and tags, rows of length 1; empty for items without attributes."""
    baskets: Any
    """float32 CSR, users x items: decayed baskets."""
    why: CategoryReasons

    @classmethod
    def fit(cls, data: "TrainingData", config: Config, seed: int) -> Self:  # noqa: ARG003 - nothing is random
        """Learn the words and tags of the items, and add up the users' baskets."""
        language = ItemVectors.fit(data.item_titles, data.item_tags, data.item_tag_rules)
        return cls(
            config=config,
            users=data.users,
            items=data.items,
            language=language,
            vectors=language.vectors(data.item_titles, data.item_tags, _weights(config)),
            baskets=baskets(data, config.half_life_days),
            why=CategoryReasons.fit(data),
        )

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return cosines, 0 to 1; -inf for strangers, and if the user's items or the item have no attributes."""
        return self._cosines(users, self.vectors)

    def top_candidates(self, users: NDArray[np.int32], scope: CandidateScope, n: int) -> CandidatePairs:
        """Return the n best items of each user in the scope."""
        vectors = self._scoped.prepared(scope.items, lambda items: self.vectors[items])
        return best_by_scores(lambda some: self._cosines(some, vectors), users, scope, n)

    def pair_scores(self, users: NDArray[np.int32], items: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """[n] the scores of pairs. Memory is about different users x words and tags: call with chunks."""
        different, row = np.unique(users, return_inverse=True)
        profile = self._profiles(different)
        words = entries(self.vectors.indptr, items)
        at = row[words.row] * profile.shape[1] + self.vectors.indices.take(words.at)
        shared = self.vectors.data.take(words.at) * profile.ravel().take(at)
        described = self.vectors.indptr[items + 1] > self.vectors.indptr[items]
        known = np.any(profile, axis=1)[row] & described
        cosines = np.bincount(words.row, shared, minlength=len(items)).astype(np.float32)
        return np.where(known, cosines, np.float32(-np.inf))

    def _cosines(self, users: NDArray[np.int32], vectors: Any) -> NDArray[np.float32]:
        profile = self._profiles(users)
        known, described = profile.any(axis=1), np.diff(vectors.indptr) > 0
        cosines = np.ascontiguousarray((vectors @ profile.T).T)
        cosines[~known], cosines[:, ~described] = -np.inf, -np.inf
        return cosines

    def _profiles(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return [m, words and tags] of length 1; all zeros for strangers, and if the items have no attributes."""
        if len(users) == 1:
            return unit(self._words_of(users))
        return unit((rows(self.baskets, users) @ self.vectors).toarray())

    def _words_of(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return the same sums as the product for one user, which takes longer to prepare than to compute."""
        own = entries(self.baskets.indptr, users).at
        words = entries(self.vectors.indptr, self.baskets.indices[own])
        sums = np.zeros((1, self.vectors.shape[1]), dtype=np.float32)
        weights = self.baskets.data[own][words.row] * self.vectors.data[words.at]
        np.add.at(sums[0], self.vectors.indices[words.at], weights)  # in the order of the product
        return sums

    def reason_codes(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> tuple[NDArray[np.int32], list[str]]:
        """Return the item's category if the user has enough of it."""
        return self.why.coded(users, items)

    def with_users(self, users: "NewUsers") -> Self:
        """Return the model of users by their clicks; traits are not used."""
        clicks = sparse.csr_array(users.events, dtype=np.float32)
        return replace(self, users=users.keys, baskets=clicks, why=self.why.for_users(clicks))


def _weights(config: Config) -> Weights:
    return Weights(config.title_weight, config.category_weight, config.attribute_weight)

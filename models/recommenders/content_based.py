"""Content-based: items similar to purchases by titles and attributes (Pazzani and Billsus 2007).

Items are sparse TF-IDF vectors of title words, category levels and other attributes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.columns import CATEGORY
from models.datasets.interaction_matrix import baskets, rows
from models.features.encoding.encoder import Tags
from models.primitives.state import Arrays, Part, State, StoredModel, entries, matrix, parts, whole
from models.recommenders.explanations.evidence import WHY, CategoryReasons, unit
from models.recommenders.explanations.sentences import ReasonsFromCodes
from models.recommenders.search_space import Float, Parameter
from models.retrieval.candidate_query import CandidatePairs, CandidateScope, PreparesScopes, best_by_scores

if TYPE_CHECKING:
    from models.datasets.cold_start import NewUsers
    from models.datasets.training_data import TrainingData

_WORD: Final = r"(?u)\b[^\W\d_]\w+\b"
"""At least two characters, the first a letter: sizes and model numbers do not make items similar."""


@dataclass(frozen=True)
class Weights:
    """The weight of each block of a vector; 0 leaves it out."""

    title: float
    category: float
    attributes: float


@dataclass(frozen=True)
class ItemVectors:
    """Words and tags with their inverse document frequency as in scikit-learn: log((1 + n) / (1 + n_with)) + 1."""

    words: NDArray[np.str_]
    """[n_words] sorted."""
    word_rarity: NDArray[np.float64]
    rules: Tags
    tag_rarity: NDArray[np.float64]

    @classmethod
    def fit(cls, titles: NDArray[np.str_], tags: sparse.csr_array, rules: Tags) -> Self:
        """Learn the words of the titles, and the rarity of each word and each tag (CSR, items x tags)."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        counts = np.bincount(tags.indices, minlength=tags.shape[1])
        tag_rarity = np.log((1 + tags.shape[0]) / (1 + counts)) + 1
        reader = TfidfVectorizer(token_pattern=_WORD)
        analyze = reader.build_analyzer()
        if not any(analyze(title) for title in titles):
            return cls(np.empty(0, dtype=np.str_), np.empty(0), rules, tag_rarity)
        reader.fit(titles)
        return cls(np.array(reader.get_feature_names_out(), dtype=np.str_), reader.idf_, rules, tag_rarity)

    def vectors(self, titles: NDArray[np.str_], tags: sparse.csr_array, weights: Weights) -> sparse.csr_array:
        """Return float32 CSR, items x (words + tags), rows of length 1; a row is empty if nothing is known.

        Each block has length 1 before it is weighted, so a long title does not outweigh the category.
        """
        columns = self.rules.column_of
        rare = sparse.csr_array(tags * self.tag_rarity)
        category = _unit(rare * (columns == CATEGORY)) * weights.category
        others = _unit(rare * (columns != CATEGORY)) * weights.attributes
        both = sparse.hstack([self._words(titles) * weights.title, category + others], format="csr")
        vectors = sparse.csr_array(_unit(both), dtype=np.float32)
        vectors.eliminate_zeros()
        return vectors

    def _words(self, titles: NDArray[np.str_]) -> sparse.csr_array:
        if not len(self.words) or not len(titles):
            return sparse.csr_array((len(titles), len(self.words)))
        from sklearn.feature_extraction.text import TfidfVectorizer

        reader = TfidfVectorizer(token_pattern=_WORD, vocabulary=self.words.tolist())
        reader.idf_ = self.word_rarity
        return reader.transform(titles)

    def state(self) -> State:
        """Return the state: arrays without dtype object."""
        rarity = {"word_rarity": self.word_rarity, "tag_rarity": self.tag_rarity}
        return {"words": self.words, **rarity, **self.rules.state("rules")}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """Rebuild it from its state; entries of other names are ignored."""
        rules = Tags.from_state("rules", state)
        return cls(state["words"], state["word_rarity"], rules, state["tag_rarity"])


def _unit(rows: sparse.csr_array) -> sparse.csr_array:
    """Return CSR with rows of length 1; rows of length 0 stay unchanged."""
    length = np.sqrt(sparse.csr_array(rows).power(2).sum(axis=1))
    return sparse.diags_array(1 / np.where(length > 0, length, 1)) @ rows


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

    @property
    def weights(self) -> Weights:
        """The weights of the blocks of a vector."""
        return Weights(self.title_weight, self.category_weight, self.attribute_weight)


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
            vectors=language.vectors(data.item_titles, data.item_tags, config.weights),
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

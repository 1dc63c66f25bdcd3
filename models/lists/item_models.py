"""Models of lists about items: their users are items, and their candidates are what goes with the item.

Similar items come from titles and tags; items bought together from baskets.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.features.encoding.item_tfidf import ItemVectors, Weights
from models.recommenders.content_based import Config
from models.recommenders.explanations.evidence import category_names_of, distinctive, unit
from models.recommenders.explanations.sentences import LARGEST_SHARE, NONE, WORDS, same_category, same_words, together
from models.recommenders.item_based.bought_together import BoughtTogether

if TYPE_CHECKING:
    from models.datasets.training_data import TrainingData

_SEED: Final = 7
LEAST_SIMILARITY: Final = 0.05
"""Cosine below which two items have nothing in common: without it a list would continue in order of ids."""
Pairs = NDArray[np.int32]
Codes = tuple[NDArray[np.int32], list[str]]
_WORD: Final = re.compile(r"[^\W\d_]{3,}")
_DIMENSIONS: Final = 96
"""Dimensions of the latent space: few enough to compare all pairs of items in seconds."""


def latent_vectors(data: "TrainingData", seed: int = _SEED, dimensions: int = _DIMENSIONS) -> NDArray[np.float32]:
    """Return latent semantic vectors (Deerwester et al. 1990) of the items' words and tags, whose products are cosines.

    [n, d] of length 1, with the weights of the content-based model; rows of NaN for items without attributes.
    """
    usual = Config()
    language = ItemVectors.fit(data.item_titles, data.item_tags, data.item_tag_rules)
    weights = Weights(usual.title_weight, usual.category_weight, usual.attribute_weight)
    words = language.vectors(data.item_titles, data.item_tags, weights)
    vectors = unit(_reduced(words, dimensions, seed))
    vectors[np.diff(words.indptr) == 0] = np.nan
    return vectors


def _reduced(words: Any, dimensions: int, seed: int) -> NDArray[np.float32]:
    """Return [n, d] if there are more words than dimensions, else the words themselves."""
    if not words.shape[1]:  # no item has attributes; vectors of length 0 would all tie
        return np.zeros((words.shape[0], 1), dtype=np.float32)
    if min(words.shape) <= dimensions:
        return np.asarray(sparse.csr_array(words).toarray(), dtype=np.float32)
    from sklearn.decomposition import TruncatedSVD

    reducer = TruncatedSVD(dimensions, random_state=seed)
    # It accepts sparse matrices only, no arrays.
    reduced: NDArray[np.float32] = reducer.fit_transform(sparse.csr_matrix(words)).astype(np.float32)
    return reduced


@dataclass(frozen=True)
class SimilarityReasons:
    """The categories and the words of n items."""

    categories: NDArray[np.str_]
    category: NDArray[np.int32]
    """[n] position in `categories`; -1 without one, and for a category of most items."""
    vocabulary: NDArray[np.str_]
    """Words of several titles, the rarest first."""
    words: Any
    """Boolean CSR, items x vocabulary."""

    @classmethod
    def fit(cls, data: "TrainingData") -> Self:
        """Learn which categories and words distinguish items."""
        categories, category = category_names_of(data.item_categories)
        is_distinctive = np.append(distinctive(category), False)
        of_items = [sorted(set(_WORD.findall(title.lower()))) for title in data.item_titles.tolist()]
        item = np.repeat(np.arange(len(of_items)), [len(words) for words in of_items])
        flat = np.array([word for words in of_items for word in words], dtype=np.str_)
        vocabulary, code, count = np.unique(flat, return_inverse=True, return_counts=True)
        useful = (count > 1) & (count <= LARGEST_SHARE * len(of_items))
        order = np.flatnonzero(useful)[np.argsort(count[useful], kind="stable")]
        place = np.full(len(vocabulary), -1)
        place[order] = np.arange(len(order))
        used = place[code] >= 0
        where = (item[used], place[code][used])
        words = sparse.csr_array((np.ones(int(used.sum()), dtype=bool), where), shape=(len(of_items), len(order)))
        return cls(categories, np.where(is_distinctive[category], category, -1), vocabulary[order], words)

    def reasons(self, subjects: NDArray[np.int64], items: NDArray[np.int32]) -> tuple[NDArray[np.int32], list[str]]:
        """Return [n] positions among the sentences, and the sentences, for n pairs: category first, then words."""
        same = (self.category[subjects] == self.category[items]) & (self.category[items] >= 0)
        categories, place = np.unique(self.category[items[same]], return_inverse=True)
        texts = [NONE, *(same_category(name) for name in self.categories[categories].tolist())]
        codes = np.zeros(len(items), dtype=np.int32)
        codes[same] = place + 1
        code = {text: position for position, text in enumerate(texts)}
        others = np.flatnonzero(~same)
        both = self.words[subjects[others]].multiply(self.words[items[others]]).tocsr()
        both.sort_indices()
        for row in np.flatnonzero(np.diff(both.indptr)).tolist():
            shared = both.indices[both.indptr[row] : both.indptr[row + 1]][:WORDS]
            codes[others[row]] = code.setdefault(same_words(self.vocabulary[shared].tolist()), len(code))
        return codes, list(code)


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

    items: NDArray[np.str_]
    """The items on the lists."""
    item_vectors: NDArray[np.float32]
    """[n_items, d]"""
    explanations: SimilarityReasons
    least_score: float = LEAST_SIMILARITY

    @classmethod
    def fit(cls, data: "TrainingData") -> "SimilarToItem":
        """Learn the items' vectors."""
        return cls(data.items, latent_vectors(data), SimilarityReasons.fit(data))

    @property
    def users(self) -> NDArray[np.str_]:
        """The items that get a list."""
        return self.items

    def queries(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return [m, d] the vectors of the items that get a list."""
        return self.item_vectors[users]

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

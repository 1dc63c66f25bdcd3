"""Models of lists about items: their users are items, and their candidates are what goes with the item.

Similar items come from titles and tags. Items that go together come from baskets; other orders, categories and
similarity fill the places that baskets leave.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.primitives.state import places
from models.recommenders.content_based import Config, ItemVectors
from models.recommenders.explanations import sentences
from models.recommenders.explanations.evidence import category_names_of, distinctive, unit
from models.recommenders.item_based.bought_together import BoughtTogether, near_orders, strongest
from models.retrieval.candidate_sources import FactorSource

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
    language = ItemVectors.fit(data.item_titles, data.item_tags, data.item_tag_rules)
    words = language.vectors(data.item_titles, data.item_tags, Config().weights)
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
        useful = (count > 1) & (count <= sentences.LARGEST_SHARE * len(of_items))
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
        texts = [sentences.NONE, *(sentences.same_category(name) for name in self.categories[categories].tolist())]
        codes = np.zeros(len(items), dtype=np.int32)
        codes[same] = place + 1
        code = {text: position for position, text in enumerate(texts)}
        others = np.flatnonzero(~same)
        both = self.words[subjects[others]].multiply(self.words[items[others]]).tocsr()
        both.sort_indices()
        for row in np.flatnonzero(np.diff(both.indptr)).tolist():
            shared = both.indices[both.indptr[row] : both.indptr[row + 1]][: sentences.WORDS]
            codes[others[row]] = code.setdefault(sentences.same_words(self.vocabulary[shared].tolist()), len(code))
        return codes, list(code)


@dataclass(frozen=True)
class _ItemModel(sentences.ReasonsFromCodes):
    items: NDArray[np.str_]
    """The items that get a list, and that are on the lists."""

    @property
    def users(self) -> NDArray[np.str_]:
        """The items that get a list."""
        return self.items


@dataclass(frozen=True)
class SimilarToItem(_ItemModel):
    """Ranks by the similarity of titles and tags."""

    item_vectors: NDArray[np.float32]
    """[n_items, d]"""
    explanations: SimilarityReasons
    least_score: float = LEAST_SIMILARITY

    @classmethod
    def fit(cls, data: "TrainingData") -> "SimilarToItem":
        """Learn the items' vectors."""
        return cls(data.items, latent_vectors(data), SimilarityReasons.fit(data))

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


_COMPLEMENTS: Final = 10
"""Categories that go with a category."""
_CANDIDATES: Final = 100
"""Items of these categories per item, and candidates below which similar ones are added."""
_STEP: Final = np.float32(100)
"""Each kind of evidence scores so many times further below 0: boosts within half of it keep the order of the kinds."""


@dataclass(frozen=True)
class BoughtWithItem(_ItemModel):
    """Ranks by the lift of common baskets, then by weaker evidence, one kind after the other, with scores below 0."""

    together: BoughtTogether
    near: BoughtTogether
    """Near orders of the same users."""
    categories: Any
    """float32 CSR [n_categories + 1, n_categories + 1]: the lift of common baskets."""
    of_categories: Any
    """float32 CSR [n_categories + 1, n_items]: best sellers of categories that go with one; the last row is empty."""
    similar: SimilarToItem

    @classmethod
    def fit(cls, data: "TrainingData") -> "BoughtWithItem":
        """Count the baskets of all pairs, of items and of categories."""
        similar = SimilarToItem.fit(data)
        names, category = np.append(similar.explanations.categories, ""), similar.explanations.category
        own, shape = category[data.item], (len(names), len(data.items))
        bought = replace(data, items=names, item=own[own >= 0], basket=data.basket[own >= 0])
        pairs = BoughtTogether.fit(bought, neighbours=_COMPLEMENTS, baskets=int(data.basket.max(initial=-1)) + 1)
        order = np.lexsort((-np.bincount(data.item, minlength=shape[1]), -sentences.recent_buyers(data), category))
        order = order[category[order] >= 0]
        nth = (1 / (1 + places(category[order]))).astype(np.float32)
        best = strongest(pairs.lift @ sparse.csr_array((nth, (category[order], order)), shape=shape), _CANDIDATES)
        near = BoughtTogether.fit(data, near=near_orders(data))
        return cls(data.items, BoughtTogether.fit(data), near, pairs.lift, best, similar)

    def ranked(self, users: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Return the pairs with any evidence: row among `users`, item, and lift or a score below 0."""
        found = [part[rows] for part, rows in self._counted(users)]
        few = np.flatnonzero(sum(np.diff(part.indptr) for part in found) < _CANDIDATES)
        kinds = [*((*part.tocoo().coords, part.data) for part in found), self._similar(users, few)]
        row, item, strength = (np.concatenate(parts) for parts in zip(*kinds, strict=True))
        kind = np.repeat(np.arange(len(kinds)), [len(part[0]) for part in kinds])
        weaker = -(_STEP ** np.maximum(kind - 1, 0)) * (2 - strength / (1 + strength))
        pairs, first = np.unique(row.astype(np.int64) * len(self.items) + item, return_index=True)
        return *np.divmod(pairs, len(self.items)), np.where(kind == 0, strength, weaker)[first].astype(np.float32)

    def _counted(self, users: Pairs) -> list[tuple[Any, Pairs]]:
        """Return what is counted, the strongest kind of evidence first: each a matrix with the users' rows."""
        own = self.similar.explanations.category[users]
        return [(self.together.lift, users), (self.near.lift, users), (self.of_categories, own)]

    def _similar(self, users: Pairs, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], Pairs, NDArray[np.float32]]:
        """Return the items most similar to some of the users, if there is a reason why: row, item and cosine."""
        vectors, every = self.similar.item_vectors, np.arange(len(self.items), dtype=np.int32)
        source = FactorSource(vectors, vectors[users[rows]], self.similar.least_score).restrict_to(every)
        best = source.fetch(np.arange(len(rows)), min(_CANDIDATES, len(every)))
        row, place = np.nonzero((best.items >= 0) & (best.items != users[rows, None]))
        why = self.similar.reason_codes(users[rows[row]], best.items[row, place])[0] > 0
        return rows[row[why]], best.items[row, place][why], best.scores[row, place][why]

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return the same scores [m, n_items]; -inf for items without evidence."""
        scores = np.full((len(users), len(self.items)), -np.inf, dtype=np.float32)
        row, item, score = self.ranked(users)
        scores[row, item] = score
        return scores

    def reason_codes(self, users: Pairs, items: Pairs) -> Codes:
        """Return [n] positions among the sentences, which state the strongest evidence, and the sentences."""
        has = [np.asarray(part[rows, items]) > 0 for part, rows in self._counted(users) if len(items)]
        kind = np.argmax([*has, np.ones(len(items), dtype=bool)], axis=0)
        codes, texts = np.zeros(len(items), dtype=np.int32), list[str]()
        for at in np.unique(kind).tolist():
            pairs = np.flatnonzero(kind == at)
            code, own = self._reasons(at, users[pairs].astype(np.int64), items[pairs])
            codes[pairs] = code + len(texts)
            texts += own
        return codes, texts

    def _reasons(self, kind: int, subjects: NDArray[np.int64], items: Pairs) -> Codes:
        """Return the sentences of pairs whose strongest evidence is of one kind."""
        if kind < 2:
            lift = (self.together, self.near)[kind].lift[subjects, items]
            return _coded((sentences.together, sentences.near_order)[kind], lift)
        known = self.similar.explanations
        if kind == 3:
            return known.reasons(subjects, items)
        own, other = known.category[subjects], known.category[items]

        def sentence(one: float, of: float, lift: float) -> str:
            return sentences.category_pair(known.categories[int(of)], lift, known.categories[int(one)])

        return _coded(sentence, own, other, self.categories[own, other])


def _coded(sentence: Callable[..., str], *values: NDArray[Any]) -> Codes:
    different, row = np.unique(np.column_stack(values), axis=0, return_inverse=True)
    texts, code = np.unique([sentence(*one) for one in different.tolist()], return_inverse=True)
    return code[row.ravel()].astype(np.int32), texts.tolist()

"""Encode items as sparse TF-IDF vectors of title words, category levels and other attributes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.columns import CATEGORY
from models.features.encoding.encoder import Tags
from models.primitives.state import State

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

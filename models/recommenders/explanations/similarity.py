"""Reasons of similar items that a reader can check: a common category, or common words of their titles."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.recommenders.explanations.sentences import LARGEST_SHARE, NONE, WORDS, same_category, same_words
from models.recommenders.explanations.top_categories import category_names_of, distinctive

if TYPE_CHECKING:
    from models.datasets.training_data import TrainingData

_WORD: Final = re.compile(r"[^\W\d_]{3,}")


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

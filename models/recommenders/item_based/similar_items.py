"""Finds similar items by the words of their titles and their tags."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.features.encoding.item_tfidf import ItemVectors, Weights
from models.recommenders.content_based import Config
from models.recommenders.explanations.item import unit

if TYPE_CHECKING:
    from models.datasets.training_data import TrainingData

_DIMENSIONS: Final = 96
"""Dimensions of the latent space: few enough to compare all pairs of items in seconds."""


@dataclass(frozen=True)
class SimilarItems:
    """Latent semantic vectors (Deerwester et al. 1990) of the words and tags of `ItemVectors`.

    Their products are cosines.
    """

    items: NDArray[np.str_]
    vectors: NDArray[np.float32]
    """[n, d] of length 1; rows of NaN for items without attributes."""

    @classmethod
    def fit(cls, data: "TrainingData", seed: int, dimensions: int = _DIMENSIONS) -> Self:
        """Reduce the items' words and tags to `dimensions`, with the weights of the content-based model."""
        usual = Config()
        language = ItemVectors.fit(data.item_titles, data.item_tags, data.item_tag_rules)
        weights = Weights(usual.title_weight, usual.category_weight, usual.attribute_weight)
        words = language.vectors(data.item_titles, data.item_tags, weights)
        vectors = unit(_reduced(words, dimensions, seed))
        vectors[np.diff(words.indptr) == 0] = np.nan
        return cls(data.items, vectors)


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

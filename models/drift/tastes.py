"""Vectors in which it shows that people care for other items than before: a model's factors, or categories."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.retrieval import Factored
from models.training_data import index_of

_SIZE: Final = 64
"""Categories that are told apart; the others share these places."""


def item_vectors(model: Any, items: NDArray[np.str_], category: NDArray[np.str_]) -> NDArray[np.float32]:
    """[n, d] the model's factors of the items, or those of its first retriever that has any; where there are none, a
    place for each category. Items of which it knows nothing have vectors of zeros."""
    factored = next((one for one in (model, *_retrievers(model)) if isinstance(one, Factored)), None)
    if factored is None:
        return _by_category(category)
    at = index_of(factored.items, items)  # type: ignore[attr-defined]  # every model has them
    known = np.nan_to_num(factored.item_vectors)
    found: NDArray[np.float32] = np.where((at >= 0)[:, None], known[at], np.float32(0))
    return found


def _retrievers(model: Any) -> list[Any]:
    found: Mapping[str, Any] = getattr(getattr(model, "candidates", None), "retrievers", {})
    return list(found.values())


def _by_category(category: NDArray[np.str_]) -> NDArray[np.float32]:
    names, place = np.unique(category, return_inverse=True)
    vectors = np.eye(min(len(names), _SIZE), dtype=np.float32)[place % _SIZE]
    vectors[category == ""] = 0
    return vectors

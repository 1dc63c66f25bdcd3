"""Reasons that name one of the user's own items: the one with the strongest evidence for the listed item."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.primitives.state import State
from models.recommenders.explanations.sentences import NONE as NO_REASON
from models.recommenders.explanations.sentences import because, short

NONE: Final = -1
"""Marks pairs for which none of the user's items is evidence."""


def shortened(titles: NDArray[np.str_]) -> NDArray[np.str_]:
    """Return [n_items] titles as reasons show them: each element of an array has the size of the longest."""
    return np.array([short(title) for title in titles.tolist()], dtype=np.str_)


def titles_of(state: State | Any) -> NDArray[np.str_]:
    """Return [n_items] the titles in a model's state; empty ones for models that were stored without them."""
    titles: NDArray[np.str_] = state.get("titles", np.full(len(state["items"]), "", dtype=np.str_))
    return titles


def strongest_own(evidence: Any, items: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return [m] the column of each row's greatest value above zero, but never the listed item itself.

    `evidence` is CSR [m, n_items]: how much each of the user's items is evidence for the listed one. NONE without
    evidence; of equal values the first column.
    """
    row = np.repeat(np.arange(evidence.shape[0]), np.diff(evidence.indptr))
    counts = (evidence.data > 0) & (evidence.indices != items[row])
    row, column, value = row[counts], evidence.indices[counts], evidence.data[counts]
    order = np.lexsort((column, -value, row))
    first = order[np.diff(row[order], prepend=-1) != 0]
    best = np.full(len(items), NONE, dtype=np.int32)
    best[row[first]] = column[first]
    return best


def nearest_own(
    history: Any, vectors: NDArray[np.float32], users: NDArray[np.int32], items: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Return [m] for each pair the user's item in `history` (CSR) of the greatest cosine above zero, else NONE."""
    nearest = np.full(len(items), NONE, dtype=np.int32)
    order = np.argsort(users, kind="stable")
    for pairs in np.split(order, np.flatnonzero(np.diff(users[order])) + 1):
        user = users[pairs[0]] if len(pairs) else NONE
        if user == NONE:
            continue
        own = history.indices[history.indptr[user] : history.indptr[user + 1]]
        cosines = unit(vectors[own]) @ vectors[items[pairs]].T
        cosines[own[:, None] == items[pairs]] = 0
        best = cosines.argmax(axis=0) if len(own) else np.empty(0, dtype=np.intp)
        positive = cosines.max(axis=0, initial=0) > 0
        nearest[pairs[positive]] = own[best[positive]] if len(own) else NONE
    return nearest


def reasons_of(titles: NDArray[np.str_], own: NDArray[np.int32], clicked: bool) -> list[str]:
    """Return one sentence per own item (or NONE) of `strongest_own`, which was bought, or clicked."""
    return [because(str(titles[item]), clicked) if item != NONE else NO_REASON for item in own]


def unit(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return the rows at length 1; those of length 0 stay as they are."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = (vectors / np.maximum(length, np.finfo(np.float32).tiny)).astype(np.float32)
    return scaled

"""A reference for rankings: every row is sorted, without any of the code that it is compared with."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Reference(NamedTuple):
    items: NDArray[np.int32]
    scores: NDArray[np.float32]
    from_fallback: NDArray[np.bool_]


def top_k(scores: Any, k: int, allowed: Any = None, fallback: Any = None, hide: Any = None) -> Reference:
    """Return the k best of each row by score and position, then by fallback and position; -1 where nothing is left."""
    m, n = scores.shape
    usable = np.ones((m, n), dtype=bool) if hide is None else ~np.asarray(hide.toarray(), dtype=bool)
    usable &= True if allowed is None else np.asarray(allowed)
    out = Reference(
        np.full((m, k), -1, dtype=np.int32), np.full((m, k), -np.inf, np.float32), np.zeros((m, k), dtype=bool)
    )
    for row in range(m):
        own = np.flatnonzero(usable[row] & (scores[row] > -np.inf))
        own = own[np.argsort(-scores[row][own], kind="stable")][:k]
        rest = np.flatnonzero(usable[row] & ~np.isin(np.arange(n), own)) if fallback is not None else own[:0]
        if fallback is not None:
            known = np.where(fallback[rest] > -np.inf, fallback[rest], -np.inf)
            rest = rest[np.argsort(-known, kind="stable")][: k - len(own)]
        width = len(own) + len(rest)
        out.items[row, :width] = [*own, *rest]
        out.scores[row, : len(own)] = scores[row][own]
        if len(rest):
            out.scores[row, len(own) : width] = fallback[rest]
        out.from_fallback[row, len(own) : width] = True
    return out

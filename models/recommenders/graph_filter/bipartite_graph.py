"""The bipartite graph of users and items: normalised by degrees, and its largest singular vectors."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse


def normalised(baskets: Any, degree: NDArray[np.float32], user_exponent: float, item_exponent: float) -> Any:
    """Return float32 CSR, users x items: baskets over powers of both degrees; `degree` is that of the items."""
    by_user = sparse.diags_array(power(baskets.sum(axis=1), -user_exponent))
    by_item = sparse.diags_array(power(degree, -item_exponent))
    return sparse.csr_array(by_user @ baskets @ by_item).astype(np.float32)


def power(degree: Any, exponent: float) -> NDArray[np.float32]:
    """Return powers of the degrees above 0; 0 stays 0."""
    powers = np.zeros(len(degree), dtype=np.float32)
    np.power(degree, exponent, out=powers, where=degree > 0)
    return powers


def singular(graph: Any, components: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the largest singular values and [n_items, components] right vectors (Halko et al. 2011), signs fixed."""
    from sklearn.utils.extmath import randomized_svd  # only a fit needs it: a stored model outlives the library

    rank = min(components, *graph.shape)
    _, values, vectors = randomized_svd(sparse.csr_matrix(graph), rank, n_iter=4, random_state=seed)
    return values.astype(np.float32), np.ascontiguousarray(vectors.T, dtype=np.float32)

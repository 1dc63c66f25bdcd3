"""Store sparse matrices in a model's state: the three CSR arrays, each prefixed with the matrix's name."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from scipy import sparse

from models.primitives.state import State

_PARTS: Final = ("data", "indices", "indptr")


def parts(name: str, matrix: sparse.csr_array) -> State:
    """Return the arrays of a CSR matrix, as `<name>.<part>`."""
    return {f"{name}.{part}": getattr(matrix, part) for part in _PARTS}


def whole(name: str, state: Mapping[str, np.ndarray[Any, Any]], shape: tuple[int, int]) -> sparse.csr_array:
    """Rebuild the CSR matrix from its arrays; entries of other names are ignored."""
    return sparse.csr_array(tuple(state[f"{name}.{part}"] for part in _PARTS), shape=shape)

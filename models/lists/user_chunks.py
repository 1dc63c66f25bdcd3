"""The users for whom one model of a cascade builds lists, whole and in chunks."""

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray


class UserChunk(NamedTuple):
    """A few users, and the items that are hidden from each or due."""

    rows: NDArray[np.int64]
    """[m] positions among all keys of the build."""
    keys: NDArray[np.str_]
    users: NDArray[np.int32]
    """[m] positions in the model."""
    hidden: Any
    """CSR, m x n_items, or None."""
    due: Any
    """CSR, m x n_items, or None."""

    def at(self, some: NDArray[np.int64]) -> Self:
        """Return some of the users."""
        if len(some) == len(self.rows):
            return self
        matrices = (None if matrix is None else matrix[some] for matrix in (self.hidden, self.due))
        return type(self)(self.rows[some], self.keys[some], self.users[some], *matrices)


class ModelUsers(NamedTuple):
    """All users whom a model knows, by their rows among the keys of the build."""

    keys: NDArray[np.str_]
    rows: NDArray[np.int64]
    users: NDArray[np.int32]
    """[m] positions in the model."""
    hidden: Any
    """CSR, all keys x n_items, or None."""
    due: Any
    """CSR, all keys x n_items, or None."""

    def chunk(self, some: slice) -> UserChunk:
        """Return a few of the users; only their rows of the matrices are copied."""
        rows = self.rows[some]
        matrices = (None if matrix is None else matrix[rows] for matrix in (self.hidden, self.due))
        return UserChunk(rows, self.keys[rows], self.users[some], *matrices)

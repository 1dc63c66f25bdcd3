"""Factors of tags, from which a hybrid factor model scores users or items by their attributes alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.features.encoding.encoder import Tags
from models.primitives.arrow_types import pa
from models.primitives.state import State


class Representations(NamedTuple):
    """The summed factors and biases of the tags of n rows."""

    factors: NDArray[np.float32]
    """[n, components]"""
    biases: NDArray[np.float32]
    """[n]"""
    known: NDArray[np.bool_]
    """[n] whether the row has any tag that the model learned."""


@dataclass(frozen=True)
class TagFactors:
    """One vector of factors and one bias per tag, weighted relative to those of a user or an item."""

    rules: Tags
    factors: NDArray[np.float32]
    """[n_tags, components]"""
    biases: NDArray[np.float32]
    """[n_tags]"""

    @classmethod
    def of(cls, rules: Tags, factors: NDArray[np.float32], biases: NDArray[np.float32], weight: float) -> Self:
        """Return the factors learned with tags of that `weight`; none if tags were left out."""
        if not len(factors):
            return cls(Tags.none(), np.empty((0, factors.shape[1]), dtype=np.float32), np.empty(0, dtype=np.float32))
        return cls(rules, np.float32(weight) * factors, np.float32(weight) * biases)

    def centred(self, tags: Any) -> Self:
        """Return the same as differences from the mean of each column's tags over rows (CSR, rows x tags)."""
        share = np.asarray(tags.mean(axis=0)).ravel()
        column = self.rules.column_of
        factors, biases = self.factors.copy(), self.biases.copy()
        for name in np.unique(column):
            own = np.flatnonzero(column == name)
            factors[own] -= share[own] @ self.factors[own]
            biases[own] -= share[own] @ self.biases[own]
        return replace(self, factors=factors, biases=biases)

    def representations(self, rows: pa.Table | None, n: int) -> Representations:
        """Return the sums over the tags of each of n rows; None stands for rows without any value."""
        tags = sparse.csr_array((n, len(self.factors)), dtype=np.float32) if rows is None else self.rules.encode(rows)
        factors: NDArray[np.float32] = tags @ self.factors
        return Representations(factors, tags @ self.biases, np.diff(tags.indptr) > 0)

    def state(self, prefix: str) -> State:
        """Return arrays, none of dtype object, as `<prefix>.<name>`."""
        return {f"{prefix}.factors": self.factors, f"{prefix}.biases": self.biases, **self.rules.state(prefix)}

    @classmethod
    def from_state(cls, prefix: str, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """Return the factors of this state."""
        return cls(Tags.from_state(prefix, state), state[f"{prefix}.factors"], state[f"{prefix}.biases"])

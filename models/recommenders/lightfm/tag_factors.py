"""Factors of tags: what a hybrid model of factors knows of users or items by their attributes alone."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.features.encoding.tags import Tags
from models.primitives.state import State


class Representations(NamedTuple):
    """What the tags of n rows say together."""

    factors: NDArray[np.float32]
    """[n, components]"""
    biases: NDArray[np.float32]
    """[n]"""
    told: NDArray[np.bool_]
    """[n] whether the row has any tag that the model learned."""


@dataclass(frozen=True)
class TagFactors:
    """One vector of factors and one bias per tag, as they count beside the own ones of a user or an item."""

    rules: Tags
    factors: NDArray[np.float32]
    """[n_tags, components]"""
    biases: NDArray[np.float32]
    """[n_tags]"""

    @classmethod
    def of(cls, rules: Tags, factors: NDArray[np.float32], biases: NDArray[np.float32], weight: float) -> Self:
        """What was learned with tags of that `weight`; none where tags were left out."""
        if not len(factors):
            return cls.none(factors.shape[1])
        return cls(rules, np.float32(weight) * factors, np.float32(weight) * biases)

    def centred(self, tags: Any) -> Self:
        """The same as differences from the mean over rows (CSR, rows x tags) of what their tags of a column say."""
        share = np.asarray(tags.mean(axis=0)).ravel()
        column = self.rules.column_of
        factors, biases = self.factors.copy(), self.biases.copy()
        for name in np.unique(column):
            own = np.flatnonzero(column == name)
            factors[own] -= share[own] @ self.factors[own]
            biases[own] -= share[own] @ self.biases[own]
        return replace(self, factors=factors, biases=biases)

    def representations(self, rows: pa.Table) -> Representations:
        """The sums over the tags of each row."""
        tags = self.rules.encode(rows)
        factors: NDArray[np.float32] = tags @ self.factors
        return Representations(factors, tags @ self.biases, np.diff(tags.indptr) > 0)

    def state(self, prefix: str) -> State:
        """Arrays, none of dtype object, as `<prefix>.<name>`."""
        return {f"{prefix}.factors": self.factors, f"{prefix}.biases": self.biases, **self.rules.state(prefix)}

    @classmethod
    def from_state(cls, prefix: str, state: Mapping[str, np.ndarray[Any, Any]], components: int) -> Self:
        """What gave this state; without tags where there is none, as in models stored before tags were kept."""
        if f"{prefix}.factors" not in state:
            return cls.none(components)
        return cls(Tags.from_state(prefix, state), state[f"{prefix}.factors"], state[f"{prefix}.biases"])

    @classmethod
    def none(cls, components: int) -> Self:
        """No tags at all."""
        nothing = np.empty((0, components), dtype=np.float32)
        return cls(Tags.fit(pa.table({}), ()), nothing, np.empty(0, dtype=np.float32))

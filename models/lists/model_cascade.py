"""Fallback chain: the first model with a score for a user serves that user."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class ScoringModel(Protocol):
    """The part of a `Recommender` that a cascade needs; see there."""

    @property
    def users(self) -> NDArray[np.str_]: ...

    @property
    def items(self) -> NDArray[np.str_]: ...

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]: ...

    def reasons(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]: ...


@dataclass(frozen=True)
class ModelCascade:
    """Models of the same items, the best informed first."""

    models: tuple[ScoringModel, ...]

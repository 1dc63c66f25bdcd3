"""Models with a cheaper interface beside the one that every scoring model has."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.lists.model_cascade import ScoringModel


@dataclass(frozen=True)
class Plain:
    """A model with only the interface that every scoring model has."""

    of: ScoringModel

    @property
    def users(self) -> NDArray[np.str_]:
        return self.of.users

    @property
    def items(self) -> NDArray[np.str_]:
        return self.of.items

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        return self.of.scores(users)

    def reasons(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]:
        return self.of.reasons(users, items)


class InPairs(Plain):
    """A model that also ranks the pairs that it scores."""

    def ranked(self, users: NDArray[np.int32]) -> tuple[Any, Any, Any]:
        scores = self.of.scores(users)
        row, item = np.nonzero(scores > -np.inf)
        return row, item, scores[row, item]


class InCodes(Plain):
    """A model that also gives its reasons as codes of sentences."""

    def reason_codes(
        self, users: NDArray[np.int32], items: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], Sequence[str]]:
        texts, codes = np.unique(self.of.reasons(users, items), return_inverse=True)
        return codes.astype(np.int32), texts.tolist()

"""Ranked items of one visitor as a model, so that lists are filled under the same rules as published ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.lists.model_cascade import ScoringModel
from models.primitives.vocabulary import NO_INDEX, position_of
from serving.model.ranked_users import RankedUsers, candidates


class Scored(NamedTuple):
    """The candidates that a model of the cascade has for a visitor."""

    model: ScoringModel
    user: int
    """The visitor's position in the model."""
    item: NDArray[np.int64]
    """[c]"""
    score: NDArray[np.float32]
    """[c]"""

    def reasons(self, items: NDArray[np.int32]) -> list[str]:
        """Return the model's sentence for each item."""
        return self.model.reasons(np.full(len(items), self.user, dtype=np.int32), items)


def own_scores(
    models: Sequence[ScoringModel], key: str, usable: NDArray[np.bool_], ranked: RankedUsers
) -> Scored | None:
    """Return the usable candidates of the first model with any, as the list builder chooses; None without one.

    Those of the champion are remembered in `ranked`.
    """
    for model in models:
        user = position_of(model.users, key)
        if user == NO_INDEX:
            continue
        item, score = ranked.of(user) if model is ranked.model else candidates(model, user)
        known = usable[item] & (score > -np.inf)
        if known.any():
            return Scored(model, user, item[known], score[known])
    return None


@dataclass(frozen=True, eq=False)
class OneVisitor:
    """Items that are scored already, for one visitor."""

    users: NDArray[np.str_]
    """[1] the visitor's key."""
    items: NDArray[np.str_]
    item: NDArray[np.int64]
    """[c] positions, ascending."""
    score: NDArray[np.float32]
    explain: Callable[[NDArray[np.int32]], list[str]]
    """Returns a sentence for each of some items."""

    def ranked(self, users: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Return the pairs: row among the `users`, item and score."""
        rows = np.flatnonzero(users == 0)
        return np.repeat(rows, len(self.item)), np.tile(self.item, len(rows)), np.tile(self.score, len(rows))

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return scores [m, n_items]; -inf for all other items."""
        scores = np.full((len(users), len(self.items)), -np.inf, dtype=np.float32)
        row, item, score = self.ranked(users)
        scores[row, item] = score
        return scores

    def reasons(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]:  # noqa: ARG002
        """Return a sentence for each item."""
        return self.explain(items)

"""Ranked items of one visitor as a model, so that lists are filled under the same rules as published ones."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.lists.model_adapters import RanksPairs
from models.lists.model_cascade import ScoringModel
from models.primitives.vocabulary import NO_INDEX, position_of


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


Ahead = Mapping[str, tuple[NDArray[np.int64], NDArray[np.float32]]]
"""The candidates of users by the champion, which were ranked together before."""
NOTHING_AHEAD: Final[Ahead] = MappingProxyType({})


def ranked_ahead(model: ScoringModel, keys: Sequence[str]) -> Ahead:
    """Return the candidates of those of several users that the model knows, if it ranks pairs.

    Ranking users together takes less than half the time of ranking each alone.
    """
    if not isinstance(model, RanksPairs):
        return NOTHING_AHEAD
    at = {key: place for key in keys if (place := position_of(model.users, key)) != NO_INDEX}
    if len(at) < 2:
        return NOTHING_AHEAD
    row, item, score = model.ranked(np.array([*at.values()], dtype=np.int32))
    ends = np.searchsorted(row, np.arange(len(at) + 1))
    parts = zip(at, ends[:-1].tolist(), ends[1:].tolist(), strict=True)
    return {key: (item[first:last].astype(np.int64), score[first:last]) for key, first, last in parts}


def own_scores(
    models: Sequence[ScoringModel], key: str, usable: NDArray[np.bool_], ahead: Ahead = NOTHING_AHEAD
) -> Scored | None:
    """Return the usable candidates of the first model with any, as the list builder chooses; None without one.

    The first model is the champion, whose candidates may be known `ahead`.
    """
    for model in models:
        user = position_of(model.users, key)
        if user == NO_INDEX:
            continue
        item, score = ahead[key] if model is models[0] and key in ahead else _candidates(model, user)
        known = usable[item] & (score > -np.inf)
        if known.any():
            return Scored(model, user, item[known], score[known])
    return None


def _candidates(model: ScoringModel, user: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    users = np.array([user], dtype=np.int32)
    if isinstance(model, RanksPairs):
        _, item, score = model.ranked(users)
        return item.astype(np.int64), score
    scores = model.scores(users)[0]
    return np.arange(len(scores)), scores


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

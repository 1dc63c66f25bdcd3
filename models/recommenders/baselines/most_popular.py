"""Recent best sellers in their season: the reference that every model has to beat, and the fallback of short lists."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from models.columns import CATEGORY_SEPARATOR
from models.datasets.interaction_matrix import decay
from models.primitives.state import StoredModel
from models.primitives.time import DAY, SEASON_DAYS, YEAR_DAYS
from models.recommenders.explanations.sentences import popular_reasons, recent_buyers
from models.recommenders.search_space import Float, Parameter
from models.retrieval.candidate_query import CandidatePairs, CandidateScope, PreparesScopes, first_of_order

if TYPE_CHECKING:
    from models.datasets.training_data import TrainingData


@dataclass(frozen=True)
class Config:
    """Settings of MostPopular."""

    half_life_days: float = 28.0
    """A purchase this old counts half."""


def popularity(data: "TrainingData", half_life_days: float = Config.half_life_days) -> NDArray[np.float32]:
    """Return [n_items] baskets of each item, halved in weight every `half_life_days`, times `seasonal_change`.

    It is the fallback of short lists.
    """
    together = np.zeros(len(data.users), dtype=np.int32)
    counted: NDArray[np.float32] = popularity_by(data, together, 1, half_life_days)[0]
    return counted


def popularity_by(
    data: "TrainingData", group: NDArray[np.int32], n_groups: int, half_life_days: float
) -> NDArray[np.float32]:
    """Return [n_groups, n_items] the same by the group of each user, with `group` [n_users] from 0."""
    cell = group[data.user].astype(np.int64) * len(data.items) + data.item
    counted = np.bincount(cell, decay(data, half_life_days), minlength=n_groups * len(data.items))
    by_group = counted.reshape(n_groups, len(data.items)) * seasonal_change(data, half_life_days)
    return by_group.astype(np.float32)


_SMOOTHING: Final = 10.0
"""Purchases that changed like the level above, added to those of each category: few purchases say little."""
_LARGEST: Final = 4.0
"""The largest change; the smallest is 1 / 4."""


def seasonal_change(data: "TrainingData", half_life_days: float = Config.half_life_days) -> NDArray[np.float64]:
    """Return [n_items] the share of the item's category in the four weeks after the cut over its recent share.

    Both are those of a year ago (52 weeks); purchases before that moment count as the recent ones count now. The change
    of a category path is smoothed towards that of its top-level category, and that one towards 1. It is 1 without a
    category, and for all items if the first purchase is less than a year and four weeks old.
    """
    change, since = np.ones(len(data.items)), data.occurred_at - (data.cut - YEAR_DAYS * DAY)
    if since.min() > -SEASON_DAYS * DAY:
        return change
    after = ((since >= 0) & (since < SEASON_DAYS * DAY)).astype(np.float64)
    before = np.where(since < 0, np.exp2(np.minimum(since, 0) / (half_life_days * DAY)), 0.0)
    if not min(before.sum(), after.sum()) > 0:
        return change
    growth = after.sum() / before.sum()
    prior, paths = _SMOOTHING * max(1.0, growth), data.item_categories
    for level in (np.char.partition(paths, CATEGORY_SEPARATOR)[:, 0], paths):
        of_item = np.unique(level, return_inverse=True)[1]
        bought, expected = (np.bincount(of_item[data.item], weight)[of_item] for weight in (after, before * growth))
        change = (bought + prior * change) / (expected + prior)
    return np.where(paths == "", 1.0, np.clip(change, 1 / _LARGEST, _LARGEST))


@dataclass(frozen=True)
class MostPopular(StoredModel, PreparesScopes):
    """Scores an item by the baskets it was in, each halved in weight every `half_life_days`, and by the season."""

    kind: ClassVar[str] = "most_popular"
    config_type: ClassVar[type[Config]] = Config
    space: ClassVar[Mapping[str, Parameter]] = {"half_life_days": Float(3, 120, log=True)}

    popularity: NDArray[np.float32]
    """[n_items] decayed baskets, times `seasonal_change`: also the `fallback` for ranking."""
    buyers: NDArray[np.int32]
    """[n_items] users who bought the item in recent days."""

    @classmethod
    def fit(cls, data: "TrainingData", config: Config, seed: int) -> Self:  # noqa: ARG003 - nothing is random
        """Count the decayed baskets of each item."""
        return cls(config, data.users, data.items, popularity(data, config.half_life_days), recent_buyers(data))

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return the same row for all users; -inf for strangers."""
        return np.where((users >= 0)[:, None], self.popularity, np.float32(-np.inf))

    def top_candidates(self, users: NDArray[np.int32], scope: CandidateScope, n: int) -> CandidatePairs:
        """Return the n best items: one order for all users, without the items hidden from each."""
        order = self._scoped.prepared(scope.items, lambda items: np.argsort(-self.popularity[items], kind="stable"))
        return first_of_order(order, users >= 0, scope, n)

    def pair_scores(self, users: NDArray[np.int32], items: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return [n] the scores of pairs."""
        return np.where(users >= 0, self.popularity[items], np.float32(-np.inf))

    def reasons(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]:  # noqa: ARG002
        """Return how many users bought each item in recent days."""
        return popular_reasons(self.buyers, items)

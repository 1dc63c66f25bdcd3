"""Second stage: the features of each candidate, as one row of numbers for a ranker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from models.columns import ITEM_ID, USER_KEY
from models.datasets.interaction_matrix import decay
from models.features.definitions import ITEM_FEATURES, PAIR_FEATURES, USER_FEATURES, Feature
from models.primitives.arrow_types import pa
from models.primitives.state import Lookup, State
from models.primitives.vocabulary import index_of, words
from models.ranking.candidate_generation import ScoredCandidates

if TYPE_CHECKING:
    from models.datasets.training_data import TrainingData

UNKNOWN: Final = -1
"""The category of an item without one."""
_HALF_LIFE: Final = 60.0
_WORDS: Final = ("top_category", "top_brand")
_CATEGORY: Final = ("category_baskets", "category_share", "share_of_category")


def _numbers(features: tuple[Feature, ...]) -> tuple[str, ...]:
    return tuple(feature.name for feature in features if feature.name not in _WORDS)


_USER, _ITEM, _PAIR = (_numbers(features) for features in (USER_FEATURES, ITEM_FEATURES, PAIR_FEATURES))


@dataclass(frozen=True)
class RankerRows:
    """The features of one moment, by position of user and item.

    Three features on the item's full category path join those of the data set: the user's baskets in it, halved every
    60 days; their share of all the user's baskets; and the item's share of the category's baskets in 28 days.
    """

    users: NDArray[np.float32]
    """[n_users, f]"""
    items: NDArray[np.float32]
    """[n_items, g]; the last column is the item's share of its category."""
    pairs: Lookup
    category: NDArray[np.int32]
    """[n_items] position of its category path; UNKNOWN without one."""
    categories: Lookup
    """Per user and category: the decayed baskets and their share."""

    @classmethod
    def of(cls, data: TrainingData) -> Self:
        """Return the features at the data's cut, from its origin."""
        assert data.origin is not None
        known, n = data.origin.features(data.cut), len(data.items)
        paths, position = np.unique(data.item_categories, return_inverse=True)
        known_path = data.item_categories != ""
        category = np.where(known_path, position, UNKNOWN).astype(np.int32)
        items = _matrix(known.items, _ITEM, index_of(words(known.items[ITEM_ID]), data.items))
        recent = np.nan_to_num(items[:, _ITEM.index("popularity_28d")])
        sold = np.bincount(position, recent, minlength=len(paths))[position]
        share = np.divide(recent, sold, out=np.zeros(n), where=sold > 0).astype(np.float32)
        share[~known_path] = np.nan
        return cls(
            _matrix(known.users, _USER, index_of(words(known.users[USER_KEY]), data.users)),
            np.column_stack([items, share]),
            Lookup.of(
                data.user_index(known.pairs[USER_KEY]),
                data.item_index(known.pairs[ITEM_ID]),
                n,
                _matrix(known.pairs, _PAIR),
            ),
            category,
            _categories(data, category, len(paths)),
        )

    def build(self, users: NDArray[np.int32], pairs: ScoredCandidates) -> NDArray[np.float32]:
        """Return [n, features] in order of `names`, NaN for unknown values."""
        user, item = users[pairs.row], pairs.item
        parts = (
            pairs.scores,
            self._of_category(user, item),
            self.items.take(item, axis=0),
            self.pairs.find(user, item),
            self.users.take(user, axis=0),
        )
        return np.concatenate(parts, axis=1)

    def _of_category(self, user: NDArray[np.int32], item: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return [n, 2] the user's baskets in the item's category, and their share; NaN for an item without one."""
        category = self.category[item]
        own = self.categories.find(user, np.maximum(category, 0), otherwise=0.0)
        own[category == UNKNOWN] = np.nan
        return own

    @staticmethod
    def names(retrievers: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names of the columns of `build`."""
        return (*retrievers, *_CATEGORY[:2], *_ITEM, _CATEGORY[2], *_PAIR, *_USER)

    def state(self) -> State:
        """Return all arrays."""
        arrays = {"rows.users": self.users, "rows.items": self.items, "rows.category": self.category}
        return arrays | self.pairs.state("rows.pairs") | self.categories.state("rows.categories")

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """Return the features of that state."""
        users, items, category = (state[f"rows.{name}"] for name in ("users", "items", "category"))
        pairs, categories = (Lookup.from_state(state, f"rows.{name}") for name in ("pairs", "categories"))
        return cls(users, items, pairs, category, categories)


def _matrix(table: pa.Table, names: tuple[str, ...], at: NDArray[np.int32] | None = None) -> NDArray[np.float32]:
    """Return the named columns as float32, NaN for nulls; `at` selects rows, and -1 is a row of NaN."""
    columns = [table[name].cast(pa.float32()).to_numpy() for name in names]
    whole = np.column_stack([np.asarray(column, dtype=np.float32) for column in columns])
    if at is None:
        return whole
    return np.where((at >= 0)[:, None], whole[np.maximum(at, 0)], np.float32(np.nan))


def _categories(data: TrainingData, category: NDArray[Any], n_categories: int) -> Lookup:
    weight, own = decay(data, _HALF_LIFE), category[data.item]
    known = own != UNKNOWN
    code = data.user[known].astype(np.int64) * n_categories + own[known]
    pairs, entry = np.unique(code, return_inverse=True)
    baskets = np.bincount(entry, weight[known], minlength=len(pairs))
    user, of = np.divmod(pairs, n_categories)
    share = baskets / np.bincount(data.user, weight, minlength=len(data.users))[user]
    return Lookup.of(user, of, n_categories, np.column_stack([baskets, share]).astype(np.float32))

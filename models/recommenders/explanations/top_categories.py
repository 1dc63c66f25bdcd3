"""Finds the categories of which each user has more than the average user: evidence for reasons."""

from typing import TYPE_CHECKING, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models.columns import CATEGORY_SEPARATOR
from models.primitives.distinct import distinct
from models.primitives.state import places
from models.primitives.time import DAY
from models.recommenders.explanations.sentences import CATEGORY_DAYS, LARGEST_SHARE

if TYPE_CHECKING:
    from models.datasets.training_data import TrainingData

CATEGORIES_PER_USER: Final = 20
NONE: Final = -1
_MOST: Final = np.iinfo(np.uint16).max


class TopCategories(NamedTuple):
    """Categories of n users, the most frequent first."""

    category: NDArray[np.int32]
    """[n, CATEGORIES_PER_USER] NONE if there are fewer."""
    times: NDArray[np.uint16]
    """[n, CATEGORIES_PER_USER] days with a purchase, or different items that the user viewed."""

    @classmethod
    def bought(cls, data: "TrainingData", item_category: NDArray[np.int32]) -> Self:
        """Return the categories that a user bought on several days, and with a larger share than all users together."""
        is_distinctive, own = distinctive(item_category), item_category[data.item]
        user, category, rows = _pairs(data.user, own, np.arange(len(own)))
        days = _pairs(data.user, own, data.occurred_at // DAY)[2]
        per_user, per_category = np.bincount(data.user, minlength=len(data.users)), np.bincount(own[own >= 0])
        above = rows * len(own) > per_category[category] * per_user[user]
        chosen = is_distinctive[category] & (days >= CATEGORY_DAYS) & above
        return cls._best(user[chosen], category[chosen], rows[chosen], days[chosen], len(data.users))

    @classmethod
    def viewed(
        cls, user: NDArray[np.int32], item: NDArray[np.int32], item_category: NDArray[np.int32], n_users: int
    ) -> Self:
        """Return the categories of the items that each user viewed; events as equally long arrays."""
        of, category, items = _pairs(user, item_category[item], item)
        chosen = distinctive(item_category)[category]
        return cls._best(of[chosen], category[chosen], items[chosen], items[chosen], n_users)

    @classmethod
    def _best(
        cls,
        user: NDArray[np.int64],
        category: NDArray[np.int64],
        weight: NDArray[np.int64],
        times: NDArray[np.int64],
        n_users: int,
    ) -> Self:
        order = np.lexsort((category, -weight, user))
        user, category, times = user[order], category[order], times[order]
        place = places(user)
        chosen = place < CATEGORIES_PER_USER
        best = cls(
            np.full((n_users, CATEGORIES_PER_USER), NONE, np.int32), np.zeros((n_users, CATEGORIES_PER_USER), np.uint16)
        )
        best.category[user[chosen], place[chosen]] = category[chosen]
        best.times[user[chosen], place[chosen]] = np.minimum(times[chosen], _MOST)
        return best


def distinctive(item_category: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return [n_categories] which categories have few enough items to distinguish users or items."""
    counts = np.bincount(item_category[item_category >= 0], minlength=int(item_category.max(initial=0)) + 1)
    small: NDArray[np.bool_] = counts <= LARGEST_SHARE * len(item_category)
    return small


def category_names_of(paths: NDArray[np.str_]) -> tuple[NDArray[np.str_], NDArray[np.int32]]:
    """Return the sorted names of the categories, and each item's position among them; -1 without a category."""
    every, item_path = np.unique(paths, return_inverse=True)
    names, path_name = np.unique(np.array([_name(path) for path in every], dtype=np.str_), return_inverse=True)
    nameless = int(len(names) > 0 and names[0] == "")
    return names[nameless:], (path_name[item_path] - nameless).astype(np.int32)


def _pairs(
    user: NDArray[np.int32], category: NDArray[np.int32], value: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return all pairs of user and category in order, and how many different values each has."""
    has_category = category >= 0
    width = int(category.max(initial=0)) + 1
    pair = user[has_category].astype(np.int64) * width + category[has_category]
    pairs, entry = np.unique(pair, return_inverse=True)
    low = int(value.min(initial=0))
    span = int(value.max(initial=0)) - low + 1
    different = distinct(entry * span + (value[has_category] - low)) // span
    pair_user, pair_category = np.divmod(pairs, width)
    return pair_user, pair_category, np.bincount(different, minlength=len(pairs))


def _name(path: str) -> str:
    """Return the second level, an aisle to shoppers, or the only one; names in capitals become lower case."""
    levels = [part for part in path.split(CATEGORY_SEPARATOR)[:2] if part]
    name = levels[-1] if levels else ""
    return name.lower() if name.isupper() else name

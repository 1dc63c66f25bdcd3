"""The categories that each user has more of than everybody, and how often: evidence for reasons."""

from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models.columns import CATEGORY_SEPARATOR
from models.datasets.training_data import TrainingData
from models.primitives.csr import places
from models.primitives.time import DAY
from models.recommenders.explanations.sentences import CATEGORY_DAYS, LARGEST_SHARE

KEPT: Final = 20
"""Categories kept per user."""
NONE: Final = -1
_MOST: Final = np.iinfo(np.uint16).max


class TopCategories(NamedTuple):
    """Categories of n users, the most frequent first."""

    category: NDArray[np.int32]
    """[n, KEPT] NONE where there are fewer."""
    times: NDArray[np.uint16]
    """[n, KEPT] days on which the user bought from it, or different items that the user looked at."""

    @classmethod
    def bought(cls, data: TrainingData, item_category: NDArray[np.int32]) -> Self:
        """Return what each user bought on several days, and more of than all users together."""
        telling, own = distinctive(item_category), item_category[data.item]
        user, category, rows = _pairs(data.user, own, np.arange(len(own)))
        days = _pairs(data.user, own, data.occurred_at // DAY)[2]
        mine, everybody = np.bincount(data.user, minlength=len(data.users)), np.bincount(own[own >= 0])
        above = rows * len(own) > everybody[category] * mine[user]
        kept = telling[category] & (days >= CATEGORY_DAYS) & above
        return cls._best(user[kept], category[kept], rows[kept], days[kept], len(data.users))

    @classmethod
    def viewed(
        cls, user: NDArray[np.int32], item: NDArray[np.int32], item_category: NDArray[np.int32], n_users: int
    ) -> Self:
        """Return the categories that each user looked at items of; events as equally long arrays."""
        of, category, items = _pairs(user, item_category[item], item)
        kept = distinctive(item_category)[category]
        return cls._best(of[kept], category[kept], items[kept], items[kept], n_users)

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
        kept = place < KEPT
        found = cls(np.full((n_users, KEPT), NONE, np.int32), np.zeros((n_users, KEPT), np.uint16))
        found.category[user[kept], place[kept]] = category[kept]
        found.times[user[kept], place[kept]] = np.minimum(times[kept], _MOST)
        return found


def distinctive(item_category: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return [n_categories] which categories have few enough of the items to tell users or items apart."""
    counts = np.bincount(item_category[item_category >= 0], minlength=int(item_category.max(initial=0)) + 1)
    small: NDArray[np.bool_] = counts <= LARGEST_SHARE * len(item_category)
    return small


def named_categories(paths: NDArray[np.str_]) -> tuple[NDArray[np.str_], NDArray[np.int32]]:
    """The names of the categories, sorted, and each item's position among them; -1 without a category."""
    every, item_path = np.unique(paths, return_inverse=True)
    names, path_name = np.unique(np.array([_name(path) for path in every], dtype=np.str_), return_inverse=True)
    nameless = int(len(names) > 0 and names[0] == "")
    return names[nameless:], (path_name[item_path] - nameless).astype(np.int32)


def _pairs(
    user: NDArray[np.int32], category: NDArray[np.int32], value: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return each user and category there is, in order, and how many different values the pair has."""
    has_category = category >= 0
    width = int(category.max(initial=0)) + 1
    pair = user[has_category].astype(np.int64) * width + category[has_category]
    pairs, entry = np.unique(pair, return_inverse=True)
    low = int(value.min(initial=0))
    span = int(value.max(initial=0)) - low + 1
    different = np.unique(entry * span + (value[has_category] - low)) // span
    found_user, found_category = np.divmod(pairs, width)
    return found_user, found_category, np.bincount(different, minlength=len(pairs))


def _name(path: str) -> str:
    """The second level, the one shoppers know as an aisle, or the only one; capitals are no way to talk."""
    levels = [part for part in path.split(CATEGORY_SEPARATOR)[:2] if part]
    name = levels[-1] if levels else ""
    return name.lower() if name.isupper() else name

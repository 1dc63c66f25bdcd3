"""The categories a user buys most, in words for reasons."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.columns import CATEGORY_SEPARATOR
from models.ranking import places
from models.training_data import TrainingData

KEPT: Final = 20
"""Categories kept per user."""


def named_categories(paths: NDArray[np.str_]) -> tuple[NDArray[np.str_], NDArray[np.int32]]:
    """The names of the categories, sorted, and each item's position among them; -1 without a category."""
    every, item_path = np.unique(paths, return_inverse=True)
    names, path_name = np.unique(np.array([_name(path) for path in every], dtype=np.str_), return_inverse=True)
    nameless = int(len(names) > 0 and names[0] == "")
    return names[nameless:], (path_name[item_path] - nameless).astype(np.int32)


def favourites(data: TrainingData, item_category: NDArray[np.int32]) -> NDArray[np.int32]:
    """[n_users, KEPT] each user's categories by products bought, ties by name; -1 where there are fewer."""
    return most_bought(data.user, item_category[data.item], len(data.users))


def most_bought(user: NDArray[np.int32], category: NDArray[np.int32], n_users: int) -> NDArray[np.int32]:
    """[n_users, KEPT] the categories of equally long arrays of events that each user has most of, ties by position.

    A category of -1 does not count; -1 stands where there are fewer.
    """
    named = category >= 0
    width = int(category.max(initial=0)) + 1
    pairs, bought = np.unique(user[named].astype(np.int64) * width + category[named], return_counts=True)
    user, category = np.divmod(pairs, width)
    order = np.lexsort((category, -bought, user))
    user, category = user[order], category[order]
    place = places(user)
    best = np.full((n_users, KEPT), -1, dtype=np.int32)
    kept = place < KEPT
    best[user[kept], place[kept]] = category[kept]
    return best


def _name(path: str) -> str:
    """The second level, the one shoppers know as an aisle, or the only one; capitals are no way to talk."""
    named = [part for part in path.split(CATEGORY_SEPARATOR)[:2] if part]
    name = named[-1] if named else ""
    return name.lower() if name.isupper() else name

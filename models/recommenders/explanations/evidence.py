"""The evidence for reasons: the user's own items, and the categories of which the user has more than others."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.columns import CATEGORY_SEPARATOR
from models.primitives.distinct import distinct
from models.primitives.state import Part, State, places
from models.primitives.time import DAY
from models.recommenders.explanations.sentences import (
    CATEGORY_DAYS,
    LARGEST_SHARE,
    because,
    bought_from,
    short,
    viewed_in,
)
from models.recommenders.explanations.sentences import NONE as NO_REASON

if TYPE_CHECKING:
    from models.datasets.training_data import TrainingData

CATEGORIES_PER_USER: Final = 20
NONE: Final = -1
"""No category, or no item of the user that is evidence."""
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
    return counts <= LARGEST_SHARE * len(item_category)


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


_TIMES: Final = 1 << 16
"""More than any count of days or items."""


@dataclass(frozen=True)
class CategoryReasons:
    """The categories of which each user has more than the average user."""

    categories: NDArray[np.str_]
    """[n_categories] their names."""
    item_category: NDArray[np.int32]
    """[n_items] position of each item's category; -1 without one."""
    top_categories: TopCategories
    titles: NDArray[np.str_]
    """[n_items]"""
    clicks: Any = None
    """CSR, users x items, of users who viewed items; without it the users bought them."""

    @classmethod
    def fit(cls, data: "TrainingData") -> Self:
        """Count the users' categories."""
        categories, item_category = category_names_of(data.item_categories)
        return cls(categories, item_category, TopCategories.bought(data, item_category), shortened(data.item_titles))

    def coded(
        self, users: NDArray[np.int32], items: NDArray[np.int32], vectors: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.int32], list[str]]:
        """Return [n] positions among the sentences, and the sentences; the first one claims nothing.

        A sentence names the item's category if the user has enough of it, else the viewed item that is nearest by the
        `vectors` of items. Strangers are users of -1.
        """
        codes, texts = self._by_category(users, items)
        unexplained = np.flatnonzero(codes == 0)
        if self.clicks is None or vectors is None or not len(unexplained):
            return codes, texts
        nearest = nearest_own(self.clicks, vectors, users[unexplained], items[unexplained])
        place = {text: at for at, text in enumerate(texts)}
        sentences = reasons_of(self.titles, nearest, clicked=True)
        codes[unexplained] = [place.setdefault(text, len(place)) for text in sentences]
        return codes, list(place)

    def _by_category(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> tuple[NDArray[np.int32], list[str]]:
        times = np.zeros(len(users), dtype=np.int64)
        known = np.flatnonzero((users >= 0) & (self.item_category[items] != NONE))
        user, own = users[known], self.item_category[items[known]]
        same = self.top_categories.category[user] == own[:, None]
        times[known] = np.where(same, self.top_categories.times[user], 0).sum(axis=1)
        pair = np.where(times > 0, (self.item_category[items] + np.int64(1)) * _TIMES + times, 0)
        different, code = np.unique(np.append(0, pair), return_inverse=True)
        sentence = bought_from if self.clicks is None else viewed_in
        texts = [sentence(str(self.categories[one // _TIMES - 1]), one % _TIMES) for one in different[1:].tolist()]
        return code[1:].astype(np.int32), [NO_REASON, *texts]

    def for_users(self, events: Any) -> Self:
        """Return the same of other users: `events` is CSR, users x items, of how often they viewed the items."""
        views = sparse.coo_array(events)
        viewed = TopCategories.viewed(views.row, views.col, self.item_category, events.shape[0])
        return replace(self, top_categories=viewed, clicks=sparse.csr_array(events))

    def state(self) -> State:
        """Return its arrays."""
        return {
            "categories": self.categories,
            "item_category": self.item_category,
            "favourites": self.top_categories.category,
            "favourite_times": self.top_categories.times,
            "titles": self.titles,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """Return the reasons of this state."""
        own = TopCategories(state["favourites"], state["favourite_times"])
        return cls(state["categories"], state["item_category"], own, state["titles"])


WHY: Final = Part(CategoryReasons.state, CategoryReasons.from_state)
"""How models store the reasons."""


def shortened(titles: NDArray[np.str_]) -> NDArray[np.str_]:
    """Return [n_items] titles as reasons show them: each element of an array has the size of the longest."""
    return np.array([short(title) for title in titles.tolist()], dtype=np.str_)


def strongest_own(evidence: Any, items: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return [m] the column of each row's greatest value above zero, but never the listed item itself.

    `evidence` is CSR [m, n_items]: how much each of the user's items is evidence for the listed one. NONE without
    evidence; of equal values the first column.
    """
    row = np.repeat(np.arange(evidence.shape[0]), np.diff(evidence.indptr))
    counts = (evidence.data > 0) & (evidence.indices != items[row])
    row, column, value = row[counts], evidence.indices[counts], evidence.data[counts]
    order = np.lexsort((column, -value, row))
    first = order[np.diff(row[order], prepend=-1) != 0]
    best = np.full(len(items), NONE, dtype=np.int32)
    best[row[first]] = column[first]
    return best


def nearest_own(
    history: Any, vectors: NDArray[np.float32], users: NDArray[np.int32], items: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Return [m] for each pair the user's item in `history` (CSR) of the greatest cosine above zero, else NONE."""
    nearest = np.full(len(items), NONE, dtype=np.int32)
    order = np.argsort(users, kind="stable")
    for pairs in np.split(order, np.flatnonzero(np.diff(users[order])) + 1):
        user = users[pairs[0]] if len(pairs) else NONE
        if user == NONE:
            continue
        own = history.indices[history.indptr[user] : history.indptr[user + 1]]
        cosines = unit(vectors[own]) @ vectors[items[pairs]].T
        cosines[own[:, None] == items[pairs]] = 0
        best = cosines.argmax(axis=0) if len(own) else np.empty(0, dtype=np.intp)
        positive = cosines.max(axis=0, initial=0) > 0
        nearest[pairs[positive]] = own[best[positive]] if len(own) else NONE
    return nearest


def reasons_of(titles: NDArray[np.str_], own: NDArray[np.int32], clicked: bool) -> list[str]:
    """Return one sentence per own item (or NONE) of `strongest_own`, which was bought, or clicked."""
    return [because(str(titles[item]), clicked) if item != NONE else NO_REASON for item in own]


def unit(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return the rows at length 1; those of length 0 stay as they are."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = (vectors / np.maximum(length, np.finfo(np.float32).tiny)).astype(np.float32)
    return scaled

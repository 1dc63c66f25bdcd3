"""Reasons that name categories, for models of factors or similarity, whose scores mean nothing to a shopper."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.columns import CATEGORY, TITLE
from models.datasets.cold_start import ExtendedItems
from models.primitives.state import State
from models.recommenders.explanations.item import nearest_own, reasons_of, shortened, titles_of
from models.recommenders.explanations.sentences import NONE as NO_REASON
from models.recommenders.explanations.sentences import bought_from, viewed_in
from models.recommenders.explanations.top_categories import NONE, TopCategories, category_names_of

if TYPE_CHECKING:
    from models.datasets.training_data import TrainingData

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

    @classmethod
    def none(cls, n_users: int, n_items: int) -> Self:
        """Return reasons that claim nothing: no item has a category."""
        own = TopCategories(np.full((n_users, 1), NONE, dtype=np.int32), np.zeros((n_users, 1), dtype=np.uint16))
        titles = np.full(n_items, "", dtype=np.str_)
        return cls(np.empty(0, dtype=np.str_), np.full(n_items, NONE, dtype=np.int32), own, titles)

    def reasons(
        self, users: NDArray[np.int32], items: NDArray[np.int32], vectors: NDArray[np.float32] | None = None
    ) -> list[str]:
        """Return one sentence per pair: the item's category if the user has enough of it.

        Else it is the viewed item that is nearest by the `vectors` of items; else the sentence claims nothing.
        """
        codes, texts = self.coded(users, items, vectors)
        return [texts[code] for code in codes.tolist()]

    def coded(
        self, users: NDArray[np.int32], items: NDArray[np.int32], vectors: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.int32], list[str]]:
        """Return the same as positions among the sentences, and the sentences; the first one claims nothing.

        Strangers are users of -1.
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

    def for_items(self, longer: ExtendedItems) -> Self:
        """Return the same of a longer catalogue; categories that only new items have come after the others."""
        names, position = category_names_of(longer.words(CATEGORY))
        titles = shortened(longer.words(TITLE))
        new = names[~np.isin(names, self.categories)]
        categories = np.concatenate([self.categories, new])
        order = np.argsort(categories)
        # The extra place is for items without a category.
        place = np.append(order[np.searchsorted(categories, names, sorter=order)], NONE).astype(np.int32)
        return replace(
            self,
            categories=categories,
            item_category=longer.joined(self.item_category, place[position]),
            titles=longer.joined(self.titles.astype(np.result_type(self.titles, titles)), titles),
        )

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
        """Return the reasons of this state; models stored without counts have no evidence for a reason."""
        own = state["favourites"]
        times = state.get("favourite_times", np.zeros(own.shape, dtype=np.uint16))
        return cls(state["categories"], state["item_category"], TopCategories(own, times), titles_of(state))

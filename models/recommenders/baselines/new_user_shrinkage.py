"""What a few clicks are worth beside what everybody buys: shrinkage of a newcomer's tastes towards a prior."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.recommenders.explanations.recent_buyers import popular_reasons
from models.recommenders.explanations.sentences import VIEWED
from models.recommenders.protocols import Recommender

KINDS: Final = ("content_based", "graph_filter", "item_knn")
"""Models whose newcomers know nothing but their clicks; those of the others begin as the mean user."""


@dataclass(frozen=True)
class ClickPrior:
    """A model of newcomers whose clicks count beside what everybody buys.

    A score is the item's share of what everybody buys; and for each click, `own` if the item is the clicked one, and
    its share in the model's scores times `alike`. So little is said of who clicked little (a Dirichlet prior, as in
    language models: Zhai and Lafferty 2001). Users without clicks are scored by the model alone.
    """

    model: Recommender
    clicks: Any
    """float32 CSR, the model's users x items."""
    popularity: NDArray[np.float32]
    """[n_items] at least 0."""
    own: float = 0.01
    alike: float = 0.1
    """Both chosen on validation weeks: `python -m benchmarks.click_prior`."""
    buyers: NDArray[np.int32] | None = None
    """[n_items] users who bought each item lately; without them the reason of what everybody buys claims nothing."""

    @property
    def users(self) -> NDArray[np.str_]:
        """Those of the model."""
        return self.model.users

    @property
    def items(self) -> NDArray[np.str_]:
        """Those of the model."""
        return self.model.items

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """The sums; -inf for items that nobody has bought or clicked and the model does not name."""
        scores = self.model.scores(users)
        for row, user in enumerate(users.tolist()):
            if user >= 0 and self.clicks.indptr[user] < self.clicks.indptr[user + 1]:
                total = self._parts(user, scores[row]).sum(axis=0)
                scores[row] = np.where(total > 0, total, np.float32(-np.inf))
        return scores

    def reasons(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]:
        """What the greatest of the three parts says."""
        said = np.array(self.model.reasons(users, items), dtype=object)
        buyers = np.zeros(len(self.items), dtype=np.int32) if self.buyers is None else self.buyers
        for user in np.unique(users[users >= 0]):
            mine = np.flatnonzero(users == user)
            if self.clicks.indptr[user] < self.clicks.indptr[user + 1]:
                scores = self.model.scores(np.array([user], dtype=np.int32))[0]
                greatest = self._parts(int(user), scores)[:, items[mine]].argmax(axis=0)
                said[mine[greatest == 0]] = popular_reasons(buyers, items[mine[greatest == 0]])
                said[mine[greatest == 1]] = VIEWED
        reasons: list[str] = said.tolist()
        return reasons

    def _parts(self, user: int, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """[3, n_items] popularity, the own clicks and the model."""
        own = slice(self.clicks.indptr[user], self.clicks.indptr[user + 1])
        clicked = np.zeros_like(scores)
        clicked[self.clicks.indices[own]] = self.clicks.data[own]
        alike = clicked.sum() * _shares(np.maximum(scores, 0))
        return np.stack([_shares(self.popularity), self.own * clicked, self.alike * alike]).astype(np.float32)


def _shares(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    total = float(weights.sum())
    return weights / np.float32(total) if total > 0 else weights

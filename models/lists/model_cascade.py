"""Fallback chain: the first model with a score for a user serves that user."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from models.recommenders.baselines.segment_popular import SegmentPopular
from models.recommenders.explanations.sentences import VIEWED, popular_reasons
from models.recommenders.protocols import FoldsInUsers, Recommender

if TYPE_CHECKING:
    from models.datasets.cold_start import NewUsers

KINDS: Final = ("content_based", "graph_filter", "item_knn")
"""Models that score new users by their clicks alone; the others start from the mean user."""


@dataclass(frozen=True)
class ClickPrior:
    """A model of new users whose clicks are weighed against general popularity.

    A score is the item's share of all purchases, plus for each click `own` if the item is the clicked one, plus the
    item's share of the model's scores times `alike`. Few clicks move the score little (a Dirichlet prior, as in
    language models: Zhai and Lafferty 2001). Users without clicks are scored by the model alone.
    """

    model: Recommender
    clicks: Any
    """float32 CSR, the model's users x items."""
    popularity: NDArray[np.float32]
    """[n_items] at least 0."""
    own: float = 0.01
    alike: float = 0.1
    """Both chosen on validation weeks of the Complete Journey."""
    buyers: NDArray[np.int32] | None = None
    """[n_items] users who bought each item in recent days; without them the reason of popular items claims nothing."""

    @property
    def users(self) -> NDArray[np.str_]:
        """The model's."""
        return self.model.users

    @property
    def items(self) -> NDArray[np.str_]:
        """The model's."""
        return self.model.items

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return the sums; -inf for items without purchases, clicks and a score of the model."""
        scores = self.model.scores(users)
        for row, user in enumerate(users.tolist()):
            if user >= 0 and self.clicks.indptr[user] < self.clicks.indptr[user + 1]:
                total = self._parts(user, scores[row]).sum(axis=0)
                scores[row] = np.where(total > 0, total, np.float32(-np.inf))
        return scores

    def reasons(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]:
        """Return the reason of the greatest of the three parts."""
        sentences = np.array(self.model.reasons(users, items), dtype=object)
        buyers = np.zeros(len(self.items), dtype=np.int32) if self.buyers is None else self.buyers
        for user in np.unique(users[users >= 0]):
            rows = np.flatnonzero(users == user)
            if self.clicks.indptr[user] < self.clicks.indptr[user + 1]:
                scores = self.model.scores(np.array([user], dtype=np.int32))[0]
                greatest = self._parts(int(user), scores)[:, items[rows]].argmax(axis=0)
                sentences[rows[greatest == 0]] = popular_reasons(buyers, items[rows[greatest == 0]])
                sentences[rows[greatest == 1]] = VIEWED
        reasons: list[str] = sentences.tolist()
        return reasons

    def _parts(self, user: int, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return [3, n_items] popularity, the own clicks and the model."""
        own = slice(self.clicks.indptr[user], self.clicks.indptr[user + 1])
        clicked = np.zeros_like(scores)
        clicked[self.clicks.indices[own]] = self.clicks.data[own]
        alike = clicked.sum() * _shares(np.maximum(scores, 0))
        return np.stack([_shares(self.popularity), self.own * clicked, self.alike * alike]).astype(np.float32)


def _shares(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    total = float(weights.sum())
    return weights / np.float32(total) if total > 0 else weights


class ScoringModel(Protocol):
    """The part of a `Recommender` that a cascade needs; see there."""

    @property
    def users(self) -> NDArray[np.str_]: ...

    @property
    def items(self) -> NDArray[np.str_]: ...

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]: ...

    def reasons(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]: ...


@dataclass(frozen=True)
class ModelCascade:
    """Models of the same items, the best informed first."""

    models: tuple[ScoringModel, ...]


def build_cascade(
    model: Recommender,
    segments: SegmentPopular | None,
    fallback: NDArray[np.float32],
    new: "NewUsers | None" = None,
    buyers: NDArray[np.int32] | None = None,
) -> ModelCascade:
    """Return the champion followed by the best sellers of the user's segment.

    If there are `new` users, the champion and the segments score them too, as far as they support it.
    """
    models: list[ScoringModel] = [model]
    new_users = new if new is not None and len(new.keys) else None
    if isinstance(model, FoldsInUsers) and new_users is not None:
        folded = model.with_users(new_users)
        shrunk = model.kind in KINDS
        models.append(ClickPrior(folded, new_users.events, fallback, buyers=buyers) if shrunk else folded)
    if segments is not None:
        models.append(segments)
        models += [segments.with_users(new_users)] if new_users is not None else []
    return ModelCascade(tuple(models))

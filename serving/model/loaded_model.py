"""A verified champion in memory, with what live lists need of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Final

import numpy as np
from numpy.typing import NDArray

from infra.bundles.bundle import Bundle
from models.lists.model_cascade import RanksPairs, ScoringModel
from models.primitives.vocabulary import NO_INDEX, position_of
from models.recommenders.item_based.item_evidence import ItemEvidence
from models.recommenders.protocols import POLICIES, head_of

Candidates = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Positions of items, and their scores."""
_REMEMBERED: Final = 2_000
"""Users whose candidates are remembered, some 3 kB each."""


class RankedUsers:
    """The candidates of each user of a model. They depend on nothing else."""

    def __init__(self, model: ScoringModel) -> None:
        """Remember nothing yet."""
        self.model = model
        self._known: dict[int, Candidates] = {}
        self._lock = Lock()

    def of(self, user: int) -> Candidates:
        """Return the candidates of the user at a position. Those of a model that scores all items are all items."""
        if not isinstance(self.model, RanksPairs):
            return candidates(self.model, user)
        return self._known.get(user) or self._ranked([user])[user]

    def rank(self, keys: Sequence[str]) -> None:
        """Rank those users of the model who are not remembered: together it takes less than half the time."""
        if not isinstance(self.model, RanksPairs):
            return
        users = dict.fromkeys(position_of(self.model.users, key) for key in keys)
        new = [user for user in users if user != NO_INDEX and user not in self._known]
        if new:
            self._ranked(new)

    def _ranked(self, users: Sequence[int]) -> dict[int, Candidates]:
        assert isinstance(self.model, RanksPairs)
        row, item, score = self.model.ranked(np.array(users, dtype=np.int32))
        ends = np.searchsorted(row, np.arange(len(users) + 1)).tolist()
        parts = zip(users, ends[:-1], ends[1:], strict=True)
        ranked = {user: (item[first:last].astype(np.int64), score[first:last].copy()) for user, first, last in parts}
        with self._lock:
            self._known.update(ranked)
            while len(self._known) > _REMEMBERED:
                del self._known[next(iter(self._known))]
        return ranked


def candidates(model: ScoringModel, user: int) -> Candidates:
    """Return the items that a model has for the user at a position, and their scores."""
    users = np.array([user], dtype=np.int32)
    if isinstance(model, RanksPairs):
        _, item, score = model.ranked(users)
        return item.astype(np.int64), score
    scores = model.scores(users)[0]
    return np.arange(len(scores)), scores


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A bundle that was verified and checked, and its origin."""

    bundle: Bundle
    evidence: ItemEvidence
    """Which items go with which, as the model learned it."""
    model_version: int | None = None
    """The registered version; None for a bundle folder without a promotion."""
    promotion_id: int | None = None

    @property
    def dataset_version(self) -> str:
        """The data set that the model learned from."""
        return self.bundle.manifest.dataset_version

    @property
    def digest(self) -> str:
        """The digest of the bundle's manifest: the same one is the same model."""
        return self.bundle.digest

    @property
    def items(self) -> NDArray[np.str_]:
        """[n] ids of the items that the model knows, sorted."""
        return self.bundle.model.items

    @cached_property
    def ranked(self) -> dict[str, RankedUsers]:
        """The candidates of users who were asked for, by the policy of the placement."""
        heads = {policy: head_of(self.bundle.model, policy) for policy in POLICIES}
        known = {id(head): RankedUsers(head) for head in heads.values()}
        return {policy: known[id(head)] for policy, head in heads.items()}

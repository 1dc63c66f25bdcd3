"""Repeat purchases: each user's own items, the frequent and recent ones first."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from models.datasets.interaction_matrix import decay
from models.primitives.distinct import distinct
from models.primitives.state import Lookup, Part, StoredModel, entries, number
from models.primitives.time import DAY
from models.recommenders.explanations.sentences import NONE, bought
from models.recommenders.search_space import Float, Parameter
from models.retrieval.candidate_query import CandidatePairs, CandidateScope
from models.retrieval.candidate_sources import PairSource

if TYPE_CHECKING:
    from models.datasets.training_data import TrainingData


@dataclass(frozen=True)
class Config:
    """Settings of OwnFrequency."""

    half_life_days: float = 90.0
    """A basket this old counts half."""
    due_exponent: float = 0.0
    """How much the weight of an item that is not due drops: by (time since the last / usual interval) to this power."""


@dataclass(frozen=True)
class OwnFrequency(StoredModel):
    """Scores an item by the user's own baskets with it, halved in weight every `half_life_days`, and by whether it is
    due again.

    It has no scores for items new to the user: the fallback fills those places. The entries are in CSR order: those of
    user u are at indptr[u]:indptr[u + 1], by item.
    """

    kind: ClassVar[str] = "own_frequency"
    config_type: ClassVar[type[Config]] = Config
    space: ClassVar[Mapping[str, Parameter]] = {
        "half_life_days": Float(14, 365, log=True),
        "due_exponent": Float(0, 1),
    }

    stored: ClassVar[Mapping[str, Part]] = {"cut": number("cut", int)}

    indptr: NDArray[np.int64]
    item: NDArray[np.int32]
    weight: NDArray[np.float32]
    """Decayed baskets, lower for items that are not due."""
    days: NDArray[np.int32]
    """Different days with a purchase."""
    first_at: NDArray[np.int64]
    """Epoch seconds of the first basket."""
    last_at: NDArray[np.int64]
    """Epoch seconds of the latest basket."""
    cut: int
    """Epoch seconds."""

    @classmethod
    def fit(cls, data: "TrainingData", config: Config, seed: int) -> Self:  # noqa: ARG003 - nothing is random
        """Sum the decayed baskets per user and item. An item bought once has no usual interval, and is due."""
        pair = data.user.astype(np.int64) * len(data.items) + data.item
        pairs, entry, baskets = np.unique(pair, return_inverse=True, return_counts=True)
        weight = np.bincount(entry, decay(data, config.half_life_days))
        known = np.iinfo(np.int64)
        first_at, last_at = np.full(len(pairs), known.max), np.full(len(pairs), known.min)
        np.minimum.at(first_at, entry, data.occurred_at)
        np.maximum.at(last_at, entry, data.occurred_at)
        user, item = np.divmod(pairs, len(data.items))
        gap = np.maximum(DAY, (last_at - first_at) / np.maximum(1, baskets - 1))
        due = np.where(baskets > 1, np.minimum(1.0, (data.cut - last_at) / gap), 1.0)
        return cls(
            config,
            data.users,
            data.items,
            indptr=np.searchsorted(user, np.arange(len(data.users) + 1)),
            item=item.astype(np.int32),
            weight=(weight * due**config.due_exponent).astype(np.float32),
            days=_days(data, entry, len(pairs)),
            first_at=first_at,
            last_at=last_at,
            cut=data.cut,
        )

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return decayed baskets of the users' own items, -inf everywhere else."""
        scores = np.full((len(users), len(self.items)), -np.inf, dtype=np.float32)
        for row, user in enumerate(users):
            if user >= 0:
                own = slice(self.indptr[user], self.indptr[user + 1])
                scores[row, self.item[own]] = self.weight[own]
        return scores

    def top_candidates(
        self,
        users: NDArray[np.int32],
        scope: CandidateScope,  # noqa: ARG002 - the candidates are the user's own items
        n: int,
    ) -> CandidatePairs:
        """Return the n best of the user's own items."""
        known = np.flatnonzero(users >= 0)
        own = PairSource(self.indptr, self.item, self.weight).fetch(users[known].astype(np.int64), n)
        row, item = CandidatePairs.of(own.items)
        return CandidatePairs(known[row], item)

    def pair_scores(self, users: NDArray[np.int32], items: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return [n] the scores of pairs."""
        different, row = np.unique(users, return_inverse=True)
        own, width = entries(self.indptr, different), len(self.items)
        baskets = Lookup(width, own.row * width + self.item[own.at], self.weight[own.at, None])
        return baskets.find(row, items, otherwise=-np.inf)[:, 0]

    def reasons(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]:
        """Return on how many days the user bought the item and when last; NONE if the user did not."""
        different, row = np.unique(users, return_inverse=True)
        own, width = entries(self.indptr, different), len(self.items)
        pairs = row * width + items
        code = np.append(own.row * width + self.item[own.at], np.iinfo(np.int64).max)
        place = np.searchsorted(code, pairs)
        known = np.flatnonzero(code[place] == pairs)
        at = own.at[place[known]]
        texts = [NONE] * len(users)
        of_counts: dict[tuple[int, int, int], str] = {}
        counts = (part.tolist() for part in (self.days[at], self.first_at[at] // DAY, self.last_at[at] // DAY))
        for pair, days, first, last in zip(known.tolist(), *counts, strict=True):
            text = of_counts.get((days, first, last))
            if text is None:
                text = of_counts[days, first, last] = bought(days, first, last, self.cut // DAY)
            texts[pair] = text
        return texts


def _days(data: "TrainingData", entry: NDArray[np.intp], n: int) -> NDArray[np.int32]:
    """Return [n] the different days of the events of each entry."""
    day = data.occurred_at // DAY
    day -= day.min(initial=0)
    width = int(day.max(initial=0)) + 1
    pairs = distinct(entry.astype(np.int64) * width + day)
    return np.bincount(pairs // width, minlength=n).astype(np.int32)

"""Holds out the last purchases of some users, and measures NDCG@10 on them over the whole catalogue."""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from models.evaluation.metrics.ranking import accuracy
from models.primitives.time import DAY
from models.recommenders.sequence.histories import Histories, Ordered, gap_class
from models.recommenders.sequence.network_settings import Config
from models.recommenders.sequence.repeats import OwnItems
from models.recommenders.sequence.training.network import Learner
from models.recommenders.sequence.training.repeats import FACTORS, Baskets

_K: Final = 10
_BLOCK: Final = 256
_LARGEST_SHARE: Final = 0.2
_BASKETS: Final = 1_000
"""Most users that repeats are learned from."""
_FEWEST: Final = 100
"""Fewest users with purchases before and in the last days; below, last baskets are more than these."""


@dataclass(frozen=True, eq=False)
class Validation:
    """Users, their histories before a moment, and what they bought from then on."""

    users: NDArray[np.int64]
    """Sorted; they may be none."""
    histories: Histories
    """Of all users."""
    targets: sparse.csr_array
    """Boolean CSR, `users` x items."""
    moments: NDArray[np.int64]
    """[n] the time from which purchases are held out (epoch s)."""

    @classmethod
    def split(
        cls, events: Ordered, shape: tuple[int, int], cut: int, config: Config, random: np.random.Generator
    ) -> tuple[Self, Ordered]:
        """Draw the users, and return the validation and the events to learn from; `shape` is users x items."""
        moment, in_latest = _held(events, shape[0], cut, config)
        latest = np.bincount(events.user[in_latest], minlength=shape[0])
        # The way to a purchase shows it; lists are made before.
        on_the_way = ~events.bought & (events.occurred_at > moment[events.user] - DAY)
        earlier = np.bincount(events.user[~in_latest & ~on_the_way], minlength=shape[0])
        able = np.flatnonzero((earlier > 0) & (latest > 0))
        drawn = min(config.validation_users, int(_LARGEST_SHARE * len(able)))
        users = np.sort(random.choice(able, size=drawn, replace=False))
        of_them = np.isin(events.user, users)
        held = in_latest & of_them
        row = np.searchsorted(users, events.user[held])
        ones = np.ones(len(row), dtype=bool)
        targets = sparse.csr_array((ones, (row, events.item[held])), shape=(len(users), shape[1]))
        kept = ~(held | on_the_way & of_them)
        user, item, at, gap = (events.user[kept], events.item[kept], events.occurred_at[kept], events.gap[kept])
        if config.time_gaps:
            last = of_them[kept] & (np.diff(user, append=-1) != 0)
            gap[last] = gap_class(moment[user[last]] - at[last])
        rest = Ordered(user, item, at, gap, events.kind[kept])
        return cls(users, Histories.of(rest, shape[0], config.length), targets, moment[users]), rest

    def ndcg(self, learner: Learner) -> float:
        """Return the mean over the users; NaN without any."""
        if not len(self.users):
            return float("nan")
        learner.eval()
        by_length = np.argsort(self.histories.counts[self.users], kind="stable")
        blocks = np.split(by_length, range(_BLOCK, len(by_length), _BLOCK))
        with torch.inference_mode():
            vectors = learner.vectors.all().T
            best = [(self._encoded(learner, block) @ vectors).topk(min(_K, len(vectors.T))).indices for block in blocks]
        figures = accuracy(torch.cat(best).numpy().astype(np.int32), self.targets[np.concatenate(blocks)])
        return float(figures["ndcg"].mean())

    def baskets(self, learner: Learner, rest: Ordered) -> Baskets:
        """Return some of the baskets, with the network's scores; `rest` is what it learned from."""
        some = np.arange(len(self.users))[:: -(-len(self.users) // _BASKETS) or 1]
        users, bought = self.users[some], self.targets[some]
        n_items = bought.shape[1]
        own = OwnItems.of(rest.of_users(users), self.moments[some], n_items)
        target = bought.tocoo()
        code = own.user * n_items + own.item
        wanted = target.row.astype(np.int64) * n_items + target.col
        place = np.minimum(np.searchsorted(code, wanted), max(0, len(code) - 1))
        pair = np.where(code[place] == wanted, place, -1) if len(code) else np.full(len(wanted), -1)
        own_scores, scores = np.empty(len(code)), np.empty(len(wanted))
        norms = torch.empty(len(FACTORS), len(users), dtype=torch.float64)
        learner.eval()
        with torch.inference_mode():
            vectors = learner.vectors.all().T
            for start in range(0, len(users), _BLOCK):
                block = slice(start, start + _BLOCK)
                every = self._encoded(learner, some[block]) @ vectors
                for row, factor in enumerate(FACTORS):
                    norms[row, block] = (factor * every).logsumexp(dim=1).double()
                for user, item, values in ((own.user, own.item, own_scores), (target.row, target.col, scores)):
                    inside = (user >= start) & (user < start + _BLOCK)
                    values[inside] = every.numpy()[user[inside] - start, item[inside]]
        return Baskets(own, torch.from_numpy(own_scores), target.row, pair, torch.from_numpy(scores), norms)

    def _encoded(self, learner: Learner, block: NDArray[np.int64]) -> torch.Tensor:
        padded = self.histories.padded(self.users[block])
        encoded: torch.Tensor = learner(*map(torch.from_numpy, (padded.items, padded.gaps, padded.kinds)))
        return encoded[torch.arange(len(block)), torch.from_numpy(padded.counts - 1)]


def _held(events: Ordered, n_users: int, cut: int, config: Config) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the moment of each user, and the purchases to predict there: of the last days, or the last basket."""
    if config.horizon_days:
        moments = np.full(n_users, cut - int(config.horizon_days * DAY))
        since = events.occurred_at >= moments[events.user]
        both = np.intersect1d(events.user[events.bought & since], events.user[events.bought & ~since])
        if len(both) >= _FEWEST:
            return moments, events.bought & since
    moments, last = (np.zeros(n_users, dtype=np.int64) for _ in range(2))
    basket = np.cumsum(events.starts_basket)
    for values, column in ((moments, events.occurred_at), (last, basket)):
        np.maximum.at(values, events.user[events.bought], column[events.bought])
    return moments, events.bought & (basket == last[events.user])

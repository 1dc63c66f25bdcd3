"""Holds out the last purchases of some users, and measures NDCG@10 on them over the whole catalogue."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from models.evaluation.metrics.ranking import accuracy
from models.primitives.time import DAY
from models.recommenders.sequence.histories import GAPS, Histories, Ordered, gap_class
from models.recommenders.sequence.network_settings import Config
from models.recommenders.sequence.repeats import DUE, OwnItems, Repeats
from models.recommenders.sequence.training.network import Learner

FACTORS: Final = (0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4)
"""Factors of the network's scores to choose from: below 1 its probabilities are more alike."""
_STIFFNESS: Final = 1.0
"""How strongly neighbouring classes are held together."""
_SHRINKAGE: Final = 0.01
_STEPS: Final = 80
_LARGEST: Final = 10.0
"""The largest logarithm of a rate: a search for weights may try any."""
_LEAST: Final = 1e-30
_START: Final = -1.0
"""The weights of purchases at the start."""
_PARTS: Final = (1, 1, GAPS, DUE)
"""The logarithms of the weights: of the network for new and for own items, and `ages` and `due` of `Repeats`."""


@dataclass(frozen=True, eq=False)
class Baskets:
    """The held-out purchases of m users, the users' own items before them, and the network's scores at that moment."""

    own: OwnItems
    """Users are numbered by their place among the m."""
    own_scores: Tensor
    """[n] the scores of the own items."""
    user: NDArray[np.int64]
    """[t] the user of each item in the baskets."""
    pair: NDArray[np.int64]
    """[t] its place in `own`; -1 for an item that is new to the user."""
    scores: Tensor
    """[t] its score."""
    norms: Tensor
    """[factors, m] the logarithm of the sum of the exponentials of all scores, times each factor."""

    @cached_property
    def again(self) -> NDArray[np.bool_]:
        """[t] whether the item was bought again."""
        return self.pair >= 0

    def loss(self, weights: Tensor, place: int) -> Tensor:
        """Return the negative logarithm of the likelihood, with the priors of the weights.

        Purchases come at random at their rates: an item is bought with the probability 1 - exp(-rate).
        """
        new, again, ages, dues = weights.split(_PARTS)
        entry, age, due = map(torch.from_numpy, (self.own.entry, self.own.age, self.own.due))
        highest, own = self.norms[place].max(), FACTORS[place] * self.own_scores
        of_purchases = weights.new_zeros(len(due)).index_add(0, entry, ages.exp()[age]).log() + dues[due]
        own_rates = torch.logaddexp(again + own - highest, of_purchases).clamp(max=_LARGEST).exp()
        of_others = ((self.norms[place] - highest).exp().sum() - (own - highest).exp().sum()).clamp(min=0)
        new_rates = (new + FACTORS[place] * self.scores[~self.again] - highest).exp()
        bought = torch.cat([own_rates[self.pair[self.again]], new_rates]).clamp(min=_LEAST)
        likely = (bought + (-torch.expm1(-bought)).log()).sum() - own_rates.sum() - new.exp().sum() * of_others
        rough = ages.diff().square().sum() + dues[1:].diff().square().sum()
        return _STIFFNESS * rough + _SHRINKAGE * weights[2:].square().sum() - likely


def learned_repeats(baskets: Baskets) -> Repeats:
    """Return the weights that make the purchases most likely; none if nobody has any."""
    best, chosen = np.inf, Repeats.none()
    for place, factor in enumerate(FACTORS if len(baskets.user) else ()):
        weights = torch.full((sum(_PARTS),), _START, dtype=torch.float64)
        weights[:2] = _first_rate(baskets.norms[place], len(baskets.user))
        weights.requires_grad_()
        optimizer = torch.optim.LBFGS([weights], max_iter=_STEPS, line_search_fn="strong_wolfe")

        def step(weights: Tensor = weights, optimizer: torch.optim.LBFGS = optimizer, place: int = place) -> Tensor:
            optimizer.zero_grad()
            loss = baskets.loss(weights, place)
            loss.backward()
            return loss

        optimizer.step(step)
        with torch.inference_mode():
            value = float(baskets.loss(weights, place))
        if value < best:
            best, chosen = value, _repeats(weights.detach(), factor, float(baskets.norms[place].max()))
    return chosen


def _first_rate(norms: Tensor, bought: int) -> float:
    """Return the weight with which the network alone would expect so many purchases."""
    return math.log(bought) - float((norms - norms.max()).exp().sum().log())


def _repeats(weights: Tensor, factor: float, highest: float) -> Repeats:
    new, again, ages, due = weights.split(_PARTS)
    of_purchases = (ages - new + highest).exp()
    return Repeats(float((again - new).exp()), of_purchases.numpy(), due.exp().numpy(), 1 / factor)


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

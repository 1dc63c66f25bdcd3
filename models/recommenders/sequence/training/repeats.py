"""Learns how much more likely users buy own items again, from the held-out baskets of the validation."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.recommenders.sequence.histories import GAPS
from models.recommenders.sequence.repeats import DUE, OwnItems, Repeats

FACTORS: Final = (0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4)
"""Factors of the network's scores to choose from: below 1 its probabilities are more alike."""
_STIFFNESS: Final = 1.0
"""How strongly neighbouring classes are held together."""
_SHRINKAGE: Final = 0.01
_STEPS: Final = 60
_PARTS: Final = (1, 1, GAPS, DUE)
"""The weights: `kept` of `Repeats`, and the logarithms of the others."""


@dataclass(frozen=True, eq=False)
class Baskets:
    """The held-out baskets of m users, the users' own items before them, and the network's scores at that moment."""

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
    def again(self) -> Tensor:
        """The places in `own` of the items that were bought again."""
        return torch.from_numpy(self.pair[self.pair >= 0])

    def loss(self, weights: Tensor, place: int) -> Tensor:
        """Return the negative logarithm of the likelihood of the baskets, with the priors of the weights."""
        kept, least, ages, dues = weights.split(_PARTS)
        entry, age, due, owner, user = map(
            torch.from_numpy, (self.own.entry, self.own.age, self.own.due, self.own.user, self.user)
        )
        sums = least.exp() + weights.new_zeros(len(due)).index_add(0, entry, ages.exp()[age])
        scores, norms = FACTORS[place] * self.own_scores, self.norms[place]
        logs = sums.log() + dues[due] + (kept - 1) * scores
        more = (scores - norms[owner]).exp() * logs.expm1()
        norms = norms + weights.new_zeros(len(norms)).index_add(0, owner, more).clamp(min=-0.999).log1p()
        likely = FACTORS[place] * self.scores.sum() + logs[self.again].sum() - norms[user].sum()
        rough = ages.diff().square().sum() + dues[1:].diff().square().sum()
        return _STIFFNESS * rough + _SHRINKAGE * weights[1:].square().sum() - likely


def learned_repeats(baskets: Baskets) -> Repeats:
    """Return the weights that make the baskets most likely; none if nobody has a basket."""
    best, chosen = np.inf, Repeats.none()
    for place, factor in enumerate(FACTORS if len(baskets.user) else ()):
        weights = torch.zeros(sum(_PARTS), dtype=torch.float64)
        weights[0] = 1
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
            best, chosen = value, _repeats(weights.detach(), factor)
    return chosen


def _repeats(weights: Tensor, factor: float) -> Repeats:
    kept, logarithms = float(weights[0]), weights[1:].exp().float()
    least, ages, due = logarithms.split(_PARTS[1:])
    return Repeats(kept, float(least), ages.numpy(), due.numpy(), 1 / factor)

"""Learns at which rate users buy own items again, from the held-out purchases of the validation."""

import math
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

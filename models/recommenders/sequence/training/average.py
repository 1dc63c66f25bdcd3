"""The average of the weights over the latest steps: better than the weights of any one of them."""

import copy
from typing import Final

import torch

from models.recommenders.sequence.config import Config
from models.recommenders.sequence.training.network import Learner

_POWER: Final = 3.0
"""The larger, the fewer of the latest steps count: here about the last third of all so far."""


class AveragedWeights:
    """A moving average whose reach grows with the number of steps (Karras et al. 2024)."""

    def __init__(self, learner: Learner, config: Config) -> None:
        """Begin before the first step; without averaging, `learner` itself is the average."""
        self.learner, self.steps = copy.deepcopy(learner) if config.averaged else learner, 0
        self._averages = list(self.learner.parameters())

    def add(self, learner: Learner) -> None:
        """Count the weights after one more step."""
        if learner is self.learner:
            return
        self.steps += 1
        share = 1 - (1 - 1 / self.steps) ** _POWER
        with torch.no_grad():
            torch._foreach_lerp_(self._averages, list(learner.parameters()), share)

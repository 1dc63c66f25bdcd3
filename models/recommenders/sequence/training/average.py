"""The average of the weights over the latest steps: better than the weights of any one of them."""

import copy
import math
from typing import Final

import torch

from models.recommenders.sequence.config import Config
from models.recommenders.sequence.training.network import Learner

_POWER: Final = 3.0
"""The larger, the fewer of the latest steps count: here about the last third of all so far."""


class AveragedWeights:
    """A moving average whose reach grows with the number of steps (Karras et al. 2024)."""

    def __init__(self, learner: Learner, config: Config) -> None:
        """Begin before the first step; without averaging only the last step counts."""
        self.learner, self.steps = copy.deepcopy(learner), 0
        self._power = _POWER if config.averaged else math.inf
        self._averages = list(self.learner.parameters())

    def add(self, learner: Learner) -> None:
        """Count the weights after one more step."""
        self.steps += 1
        share = 1 - (1 - 1 / self.steps) ** self._power
        with torch.no_grad():
            torch._foreach_lerp_(self._averages, list(learner.parameters()), share)

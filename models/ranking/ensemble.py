"""Averages boosted trees and small neural networks: their errors differ, so the mean has a lower error than either."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from models.primitives.state import State
from models.ranking import boosted_trees
from models.ranking import neural_networks as networks
from models.ranking.boosted_trees import BoostedTrees
from models.ranking.logistic import sigmoid
from models.ranking.neural_networks import Networks
from models.recommenders.search_space import Parameter


@dataclass(frozen=True)
class Config(boosted_trees.Config, networks.Config):
    """Settings of both."""


@dataclass(frozen=True)
class BlendedRanker:
    """The log-odds are the mean over all boosters and all networks, each of which predicts probabilities."""

    space: ClassVar[Mapping[str, Parameter]] = {**BoostedTrees.space, **Networks.space}

    trees: BoostedTrees
    networks: Networks

    @classmethod
    def fit(cls, rows: Any, labels: Any, weights: Any, config: Any, seed: int) -> Self:
        """Learn from rows [n, f] with labels 0 or 1 and weights [n]; NaN is a value of its own."""
        trees = BoostedTrees.fit(rows, labels, weights, config, seed)
        return cls(trees, Networks.fit(trees.first.standard(rows), labels, weights, config, seed))

    def probabilities(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return [n] of each row."""
        first = self.trees.first
        standard = first.standard(rows)
        odds = self.trees.corrected(first.log_odds_of(standard), rows)
        if self.networks.count:
            odds += self._network_share() * (self.networks.log_odds(standard) - odds)
        return sigmoid(odds)

    def contributions(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return [n, f + 1] the part of each column in the log-odds, and last the base value of all rows."""
        added = self.trees.contributions(rows)
        if self.networks.count:
            first = self.trees.first
            of_networks = first.by_column(self.networks.contributions(first.standard(rows)))
            added += self._network_share() * (of_networks - added)
        return added

    def _network_share(self) -> np.float32:
        """Return the networks' share of the mean."""
        return np.float32(self.networks.count / (self.networks.count + len(self.trees.stored)))

    def state(self) -> State:
        """Return the arrays of both."""
        return self.trees.state() | self.networks.state()

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """Return the ranker of this state."""
        trees = BoostedTrees.from_state(state)
        return cls(trees, Networks.from_state(state, len(trees.first.mean)))

"""Gradient-boosted trees (Friedman 2001; Chen and Guestrin 2016) that say how likely each candidate is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from models import logistic
from models.logistic import Logistic, sigmoid
from models.recommender import State
from models.space import Float, Integer, Parameter


@dataclass(frozen=True)
class Config:
    """Settings of BoostedTrees. Few and small trees: every candidate of every user walks through all of them."""

    trees: int = 200
    leaves: int = 15
    learning_rate: float = 0.1
    """How much each tree may correct."""
    penalty: float = 50.0
    """L2 penalty on what a leaf says."""
    min_child_weight: float = 20.0
    """The least sum of the rows' p (1 - p) in a leaf: higher is smoother."""
    features_per_split: float = 0.7
    """Share of the columns that each split may choose from."""
    rows_per_tree: float = 0.5
    """Share of the rows that each tree learns from."""


@dataclass(frozen=True)
class BoostedTrees:
    """A logistic regression, and trees that correct it: fitted to its loss, which is proper, they say probabilities.

    The regression draws the smooth lines that trees only climb in steps; so few and small trees are enough.
    """

    space: ClassVar[Mapping[str, Parameter]] = {
        "trees": Integer(50, 300, log=True),
        "leaves": Integer(7, 63, log=True),
        "learning_rate": Float(0.03, 0.3, log=True),
        "penalty": Float(1, 200, log=True),
    }

    first: Logistic
    booster: Any

    @classmethod
    def fit(cls, rows: Any, labels: Any, weights: Any, config: Any, seed: int) -> Self:
        """Learn from rows [n, f] with labels 0 or 1 and weights [n]; NaN is a value of its own."""
        import xgboost

        settings = {
            "objective": "binary:logistic",
            "base_score": 0.5,
            "eta": config.learning_rate,
            "max_leaves": config.leaves,
            "max_depth": 0,
            "grow_policy": "lossguide",
            "lambda": config.penalty,
            "min_child_weight": config.min_child_weight,
            "subsample": config.rows_per_tree,
            "colsample_bynode": config.features_per_split,
            "seed": seed,
        }
        first = Logistic.fit(rows, labels, weights, logistic.Config(), seed)
        matrix = xgboost.QuantileDMatrix(rows, label=labels, weight=weights)
        matrix.set_base_margin(first.log_odds(rows))
        return cls(first, xgboost.train(settings, matrix, config.trees))

    def probabilities(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """[n] of each row."""
        return sigmoid(self.first.log_odds(rows) + self.booster.inplace_predict(rows, predict_type="margin"))

    def contributions(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """[n, f + 1] what each column adds to the log-odds, last what everybody begins with.

        Of the trees these are Shapley values (Lundberg and Lee 2017).
        """
        import xgboost

        said: NDArray[np.float32] = self.booster.predict(xgboost.DMatrix(rows), pred_contribs=True)
        return self.first.contributions(rows) + said

    def state(self) -> State:
        """The regression's arrays, and the library's own binary JSON as bytes."""
        return self.first.state() | {"ranker.booster": np.frombuffer(bytes(self.booster.save_raw("ubj")), dtype=np.uint8)}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """The trees that gave this state."""
        import xgboost

        booster = xgboost.Booster()
        booster.load_model(bytearray(state["ranker.booster"].tobytes()))
        return cls(Logistic.from_state(state), booster)

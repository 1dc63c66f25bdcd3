"""Gradient-boosted trees (Friedman 2001; Chen and Guestrin 2016) that say how likely each candidate is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from models.recommender import State
from models.space import Float, Integer, Parameter


@dataclass(frozen=True)
class Config:
    """Settings of BoostedTrees. Few and small trees: every candidate of every user walks through all of them."""

    trees: int = 120
    leaves: int = 31
    learning_rate: float = 0.1
    """How much each tree may correct."""
    min_child_weight: float = 20.0
    """The least sum of the rows' p (1 - p) in a leaf: higher is smoother."""
    features_per_split: float = 0.7
    """Share of the columns that each split may choose from."""


@dataclass(frozen=True)
class BoostedTrees:
    """Trees fitted to the logistic loss, which is proper: its scores are probabilities."""

    space: ClassVar[Mapping[str, Parameter]] = {
        "trees": Integer(50, 300, log=True),
        "leaves": Integer(7, 63, log=True),
        "learning_rate": Float(0.03, 0.3, log=True),
        "min_child_weight": Float(1, 100, log=True),
    }

    booster: Any

    @classmethod
    def fit(cls, rows: Any, labels: Any, weights: Any, config: Any, seed: int) -> Self:
        """Learn from rows [n, f] with labels 0 or 1 and weights [n]; NaN is a value of its own."""
        import xgboost

        settings = {
            "objective": "binary:logistic",
            "eta": config.learning_rate,
            "max_leaves": config.leaves,
            "max_depth": 0,
            "grow_policy": "lossguide",
            "min_child_weight": config.min_child_weight,
            "colsample_bynode": config.features_per_split,
            "seed": seed,
        }
        matrix = xgboost.QuantileDMatrix(rows, label=labels, weight=weights)
        return cls(xgboost.train(settings, matrix, config.trees))

    def probabilities(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """[n] of each row."""
        said: NDArray[np.float32] = self.booster.inplace_predict(rows)
        return said

    def contributions(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """[n, f + 1] what each column adds to the log-odds (Lundberg and Lee 2017), last what everybody begins with."""
        import xgboost

        said: NDArray[np.float32] = self.booster.predict(xgboost.DMatrix(rows), pred_contribs=True)
        return said

    def state(self) -> State:
        """The library's own binary JSON, as bytes."""
        return {"ranker.booster": np.frombuffer(bytes(self.booster.save_raw("ubj")), dtype=np.uint8)}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """The trees that gave this state."""
        import xgboost

        booster = xgboost.Booster()
        booster.load_model(bytearray(state["ranker.booster"].tobytes()))
        return cls(booster)

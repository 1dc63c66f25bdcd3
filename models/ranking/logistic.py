"""Logistic regression on the same rows: the baseline for the boosted trees."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from models.primitives.state import State
from models.recommenders.search_space import Float, Parameter


@dataclass(frozen=True)
class Config:
    """Settings of Logistic."""

    strength: float = 1.0
    """Inverse of the L2 penalty, as `C` in scikit-learn."""
    rows: int = 200_000
    """The sample size if there are more rows: the coefficients are few."""


@dataclass(frozen=True)
class Logistic:
    """A pipeline of scikit-learn as arrays.

    It takes log(1 + x) of columns that are never negative, fills and flags missing values, standardises the columns,
    and multiplies by coefficients.
    """

    space: ClassVar[Mapping[str, Parameter]] = {"strength": Float(0.001, 100, log=True)}

    logged: NDArray[np.bool_]
    """[f]"""
    fill: NDArray[np.float32]
    """[f] for a missing value, after the logarithm."""
    mean: NDArray[np.float32]
    """[2 f] of the filled columns and of their flags, which are 1 if a value was missing; so are the next two."""
    factor: NDArray[np.float32]
    coefficients: NDArray[np.float32]
    intercept: float

    @classmethod
    def fit(cls, rows: Any, labels: Any, weights: Any, config: Any, seed: int) -> Self:
        """Learn from rows [n, f] with labels 0 or 1 and weights [n]; NaN is missing."""
        from sklearn.impute import SimpleImputer
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler

        rows, labels, weights = sample(rows, labels, weights, config.rows, seed)
        logged = np.fmin.reduce(rows, axis=0, initial=0) >= 0
        scaled = _logged(rows, logged)
        imputer = SimpleImputer(strategy="median", keep_empty_features=True)
        filled = np.hstack([imputer.fit_transform(scaled), np.isnan(scaled)])
        scaler = StandardScaler().fit(filled)
        regression = LogisticRegression(C=config.strength, random_state=seed, max_iter=500)
        regression.fit(scaler.transform(filled), labels, sample_weight=weights)
        return cls(
            logged,
            imputer.statistics_.astype(np.float32),
            scaler.mean_.astype(np.float32),
            (1 / scaler.scale_).astype(np.float32),
            regression.coef_[0].astype(np.float32),
            float(regression.intercept_[0]),
        )

    def probabilities(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return [n] of each row."""
        return sigmoid(self.log_odds(rows))

    def log_odds(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return [n] of each row."""
        blocks = (rows[start : start + _BLOCK] for start in range(0, max(1, len(rows)), _BLOCK))
        return np.concatenate([self.log_odds_of(self.standard(block)) for block in blocks])

    def log_odds_of(self, standard: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return [n] of rows [n, 2 f] that `standard` returned."""
        # The rounding of a matrix product depends on the number of rows; that of a sum by row does not.
        odds: NDArray[np.float32] = np.einsum("ij,j->i", standard, self.coefficients)
        return odds + np.float32(self.intercept)

    def contributions(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return [n, f + 1] the part of each column, with its flag, in the log-odds, and last the base value."""
        begins = np.full((len(rows), 1), self.intercept, dtype=np.float32)
        return self.by_column(np.hstack([self.standard(rows) * self.coefficients, begins]))

    def by_column(self, added: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return [n, f + 1] from the parts of columns, flags and base value [n, 2 f + 1]: each column with its flag."""
        f = len(self.logged)
        return np.hstack([added[:, :f] + added[:, f:-1], added[:, -1:]]).astype(np.float32)

    def standard(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return [n, 2 f] columns and flags, each of mean 0 and deviation 1 in the training rows."""
        f, made = len(self.logged), np.empty((len(rows), len(self.mean)), dtype=np.float32)
        present, absent = ((np.float32(flag) - self.mean[f:]) * self.factor[f:] for flag in (0, 1))
        for start in range(0, len(rows), _BLOCK):
            block = slice(start, start + _BLOCK)
            scaled = _logged(rows[block], self.logged)
            missing = np.isnan(scaled)
            filled = np.where(missing, self.fill, scaled)
            filled -= self.mean[:f]
            np.multiply(filled, self.factor[:f], out=made[block, :f])
            made[block, f:] = np.where(missing, absent, present)
        return made

    def state(self) -> State:
        """Return all arrays."""
        arrays: State = {f"ranker.{name}": getattr(self, name) for name in _ARRAYS}
        return arrays | {"ranker.intercept": np.array(self.intercept)}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """Return the regression of this state."""
        arrays = {name: state[f"ranker.{name}"] for name in _ARRAYS}
        return cls(**arrays, intercept=float(state["ranker.intercept"]))


_BLOCK: Final = 1024  # rows whose columns fit into the processor's cache
_ARRAYS: Final = ("logged", "fill", "mean", "factor", "coefficients")


def sample(rows: Any, labels: Any, weights: Any, most: int, seed: int) -> tuple[Any, Any, Any]:
    """Return at most `most` of the rows, with their labels and weights, in their order."""
    if len(rows) <= most:
        return rows, labels, weights
    some = np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))
    return rows[some], labels[some], weights[some]


def sigmoid(odds: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities of these log-odds."""
    return (1 / (1 + np.exp(-odds))).astype(np.float32)


def _logged(rows: NDArray[np.float32], logged: NDArray[np.bool_]) -> NDArray[np.float32]:
    made = np.maximum(rows, 0)
    np.log1p(made, out=made)
    np.copyto(made, rows, where=~logged)
    return made

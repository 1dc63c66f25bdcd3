"""Small neural networks (Rumelhart, Hinton and Williams 1986) that predict the probability of each candidate."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from models.primitives.state import State
from models.primitives.threads import parallel_map
from models.ranking.logistic import sample
from models.recommenders.search_space import Choice, Integer, Parameter


@dataclass(frozen=True)
class Config:
    """Settings of Networks."""

    networks: int = 4
    """Averaged; 0 ranks by the trees alone."""
    hidden: int = 32
    """Hidden units of each network."""
    epochs: int = 5
    """Passes over the rows."""


@dataclass(frozen=True)
class Networks:
    """Several networks of one hidden layer (ReLU) side by side are one wide network; a row's log-odds are their mean.

    Rows are standardised columns, as `Logistic.standard` makes them.
    """

    space: ClassVar[Mapping[str, Parameter]] = {"hidden": Choice((16, 32, 64)), "epochs": Integer(3, 12)}

    count: int
    inward: NDArray[np.float32]
    """[f, h] with h hidden units of all networks."""
    bends: NDArray[np.float32]
    """[h] biases of the units."""
    outward: NDArray[np.float32]
    """[h]"""
    intercept: float

    @classmethod
    def fit(cls, rows: Any, labels: Any, weights: Any, config: Any, seed: int) -> Self:
        """Learn from rows [n, f] with labels 0 or 1 and weights [n], each network from its own random start.

        More than 500,000 rows are sampled.
        """
        rows, labels, weights = sample(rows, labels, weights, _MOST, seed)
        rows = _clipped(rows)

        def learned(own: int) -> Any:
            return _network(len(rows), config, own).fit(rows, labels, sample_weight=weights)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a few epochs are meant to be few
            fitted = parallel_map(learned, range(seed, seed + config.networks))
        return cls._joined(fitted, rows.shape[1])

    @classmethod
    def _joined(cls, fitted: list[Any], f: int) -> Self:
        count = len(fitted)
        if not count:
            return cls.none(f)
        outward = np.concatenate([one.coefs_[1][:, 0] for one in fitted]) / count
        return cls(
            count,
            np.hstack([one.coefs_[0] for one in fitted]).astype(np.float32),
            np.concatenate([one.intercepts_[0] for one in fitted]).astype(np.float32),
            outward.astype(np.float32),
            float(np.mean([one.intercepts_[1][0] for one in fitted])),
        )

    @classmethod
    def none(cls, f: int) -> Self:
        """Return no network."""
        empty = np.empty(0, dtype=np.float32)
        return cls(0, np.empty((f, 0), dtype=np.float32), empty, empty, 0.0)

    def log_odds(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return [n] of each row, independent of the other rows: products are always of `_BLOCK` rows."""
        odds = np.empty(len(rows), dtype=np.float32)
        block = np.zeros((_BLOCK, self.inward.shape[0]), dtype=np.float32)
        units = np.empty((_BLOCK, self.inward.shape[1]), dtype=np.float32)
        for start in range(0, len(rows), _BLOCK):
            part = rows[start : start + _BLOCK]
            np.clip(part, -_FARTHEST, _FARTHEST, out=block[: len(part)])
            np.matmul(block, self.inward, out=units)
            units += self.bends
            np.maximum(units, 0, out=units)
            odds[start : start + _BLOCK] = np.einsum("ij,j->i", units, self.outward)[: len(part)]
        return odds + np.float32(self.intercept)

    def contributions(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return [n, f + 1] the part of each column in the log-odds, and last the log-odds of the mean row.

        Integrated gradients (Sundararajan, Taly and Yan 2017) along the line from the mean to the row. The share of
        the line on which a unit is active is known exactly, so that the sum is exact too.
        """
        rows = _clipped(rows)
        climbs = rows @ self.inward
        with np.errstate(divide="ignore", invalid="ignore"):
            crossed = np.clip(np.nan_to_num(-self.bends / climbs), 0, 1)
        on = np.where(climbs > 0, 1 - crossed, np.where(climbs < 0, crossed, self.bends > 0))
        added = rows * ((on * self.outward) @ self.inward.T)
        begins = np.full((len(rows), 1), np.maximum(self.bends, 0) @ self.outward + self.intercept)
        return np.hstack([added, begins]).astype(np.float32)

    def state(self) -> State:
        """Return all arrays; none if there is no network."""
        if not self.count:
            return {}
        numbers = {"count": np.array(self.count), "intercept": np.array(self.intercept)}
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        return {f"ranker.networks.{name}": array for name, array in (arrays | numbers).items()}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray[Any, Any]], f: int) -> Self:
        """Return the networks of this state; none for bundles from before there were any."""
        if "ranker.networks.count" not in state:
            return cls.none(f)
        arrays = {name: state[f"ranker.networks.{name}"] for name in _ARRAYS}
        count, intercept = (state[f"ranker.networks.{name}"] for name in ("count", "intercept"))
        return cls(int(count), **arrays, intercept=float(intercept))


_MOST: Final = 500_000
_BLOCK: Final = 256
_FARTHEST: Final = 5.0  # deviations from the mean: farther values would dominate
_ARRAYS: Final = ("inward", "bends", "outward")


def _clipped(rows: Any) -> Any:
    return np.clip(rows, -_FARTHEST, _FARTHEST)


def _network(n: int, config: Any, seed: int) -> Any:
    """Return an untrained network. With few rows its batches are small, because there would be too few steps."""
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier(
        (config.hidden,),
        alpha=1e-3,
        batch_size=min(n, max(32, min(2048, n // 200))),
        learning_rate_init=3e-3,
        max_iter=config.epochs,
        random_state=seed,
    )

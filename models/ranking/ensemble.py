"""Gradient-boosted trees and small neural networks, averaged: their errors differ, so the mean has a lower error."""

import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import count, takewhile
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from models.primitives.state import State
from models.primitives.threads import parallel_map
from models.ranking import logistic
from models.ranking.logistic import Logistic, sample, sigmoid
from models.ranking.xgboost_library import xgboost
from models.recommenders.search_space import Choice, Float, Integer, Parameter

_FARTHEST: Final = np.finfo(np.float32).max


@dataclass(frozen=True)
class Config:
    """Settings of BlendedRanker. Trees are few and small because every candidate of every user passes all of them."""

    networks: int = 4
    """Averaged; 0 ranks by the trees alone."""
    hidden: int = 32
    """Hidden units of each network."""
    epochs: int = 5
    """Passes of the networks over the rows."""
    boosters: int = 1
    """Averaged, so that errors by chance cancel out (bagging, Breiman 1996)."""
    rows_per_tree: float = 0.5
    """Share of the rows that the trees of a booster learn from, drawn for each booster."""
    trees: int = 200
    """Trees of each booster."""
    leaves: int = 15
    learning_rate: float = 0.1
    """How much each tree may correct."""
    penalty: float = 50.0
    """L2 penalty on the values of leaves."""
    min_child_weight: float = 20.0
    """The least sum of the rows' p (1 - p) in a leaf: higher is smoother."""
    features_per_split: float = 0.7
    """Share of the columns that each split may choose from."""


@dataclass(frozen=True)
class BoostedTrees:
    """A logistic regression and trees that correct it. Both minimise log loss, so the result is a probability.

    The regression models smooth effects that trees only approximate in steps, so that few and small trees are enough.
    """

    space: ClassVar[Mapping[str, Parameter]] = {
        "trees": Integer(50, 300, log=True),
        "leaves": Integer(7, 63, log=True),
        "learning_rate": Float(0.03, 0.3, log=True),
        "penalty": Float(1, 200, log=True),
    }

    first: Logistic
    stored: tuple[bytes, ...]
    """The boosters in the library's own binary JSON. They are opened on first use, because the library's import takes
    longer than most calls that need no booster."""

    @classmethod
    def fit(cls, rows: Any, labels: Any, weights: Any, config: Any, seed: int) -> Self:
        """Learn from rows [n, f] with labels 0 or 1 and weights [n]; NaN is a value of its own."""
        xgb = xgboost()
        settings = {
            "objective": "binary:logistic",
            "base_score": 0.5,
            "eta": config.learning_rate,
            "max_leaves": config.leaves,
            "max_depth": 0,
            "grow_policy": "depthwise",
            "max_bin": _BINS,
            "lambda": config.penalty,
            "min_child_weight": config.min_child_weight,
            "colsample_bynode": config.features_per_split,
        }
        first = Logistic.fit(rows, labels, weights, logistic.Config(rows=_FIRST), seed)
        margin, boosters = first.log_odds(rows), []
        for own in range(seed, seed + config.boosters):
            some = np.flatnonzero(np.random.default_rng(own).random(len(rows)) < config.rows_per_tree)
            matrix = xgb.QuantileDMatrix(rows[some], label=labels[some], weight=weights[some], max_bin=_BINS)
            matrix.set_base_margin(margin[some])
            boosters.append(xgb.train(settings | {"seed": own}, matrix, config.trees))
        return cls(first, tuple(bytes(booster.save_raw("ubj")) for booster in boosters))

    def log_odds(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return [n] of each row."""
        return self.corrected(self.first.log_odds(rows), rows)

    def corrected(self, first: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return [n] the regression's log-odds of the rows, corrected by the trees."""
        whole = twice(rows)
        margins = [booster.inplace_predict(whole, predict_type="margin") for booster in self._for_whole_rows]
        odds: NDArray[np.float32] = first + np.mean(margins, axis=0)
        return odds

    @cached_property
    def boosters(self) -> tuple[Any, ...]:
        """The trees, ready to predict."""
        return tuple(_opened(raw) for raw in self.stored)

    @cached_property
    def _for_whole_rows(self) -> tuple[Any, ...]:
        return tuple(for_whole_rows(booster) for booster in self.boosters)

    def contributions(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return [n, f + 1] the part of each column in the log-odds, and last the base value of all rows.

        The trees' parts are Shapley values (Lundberg and Lee 2017).
        """
        matrix = xgboost().DMatrix(rows)
        parts = [booster.predict(matrix, pred_contribs=True) for booster in self.boosters]
        added: NDArray[np.float32] = self.first.contributions(rows) + np.mean(parts, axis=0)
        return added

    def state(self) -> State:
        """Return the regression's arrays, and the library's own binary JSON as bytes."""
        stored = zip(_names(), self.stored, strict=False)
        return self.first.state() | {name: np.frombuffer(raw, dtype=np.uint8) for name, raw in stored}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """Return the trees of this state."""
        stored = takewhile(state.__contains__, _names())
        return cls(Logistic.from_state(state), tuple(state[name].tobytes() for name in stored))


_FIRST: Final = 100_000  # rows for the regression: the trees correct it
_BINS: Final = 64
"""Bins of the values of a column: more are slower and no better."""


def _names() -> Iterator[str]:
    """Yield the keys of the boosters; bundles from before there were several have only the first."""
    yield "ranker.booster"
    yield from (f"ranker.booster.{number}" for number in count(2))


def _opened(raw: bytes) -> Any:
    booster = xgboost().Booster()
    booster.load_model(bytearray(raw))
    return booster


def for_whole_rows(booster: Any) -> Any:
    """Return the booster (XGBoost, numeric columns) for rows of `twice`: the same predictions in half the time.

    A split sends a missing value left or right, as it has learned to. Each column is given twice, once with the lowest
    and once with the highest number in place of missing values. A split on the right one of the two needs no rule for
    missing values, and every row ends in the same leaves as before.
    """
    model = json.loads(booster.save_raw("json"))
    columns, learner = booster.num_features(), model["learner"]
    learner["learner_model_param"]["num_feature"] = str(2 * columns)
    for tree in learner["gradient_booster"]["model"]["trees"]:
        tree["tree_param"]["num_feature"] = str(2 * columns)
        sides = zip(tree["split_indices"], tree["default_left"], tree["left_children"], strict=True)
        tree["split_indices"] = [at if to_left or child < 0 else at + columns for at, to_left, child in sides]
    return _opened(json.dumps(model).encode())


def twice(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return [n, 2 f] from rows [n, f] with NaN for missing values."""
    n, f = rows.shape
    made = np.empty((n, 2 * f), dtype=np.float32)
    np.fmax(rows, -_FARTHEST, out=made[:, :f])  # of a number and NaN these return the number
    np.fmin(rows, _FARTHEST, out=made[:, f:])
    return made


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
        from sklearn.neural_network import MLPClassifier

        rows, labels, weights = sample(rows, labels, weights, _MOST_ROWS, seed)
        rows, n = _clipped(rows), len(rows)

        def learned(own: int) -> Any:
            network = MLPClassifier(
                (config.hidden,),
                alpha=1e-3,
                batch_size=min(n, max(32, min(2048, n // 200))),  # with few rows large batches would be too few steps
                learning_rate_init=3e-3,
                max_iter=config.epochs,
                random_state=own,
            )
            return network.fit(rows, labels, sample_weight=weights)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a few epochs are meant to be few
            fitted = parallel_map(learned, range(seed, seed + config.networks))
        count = len(fitted)
        if not count:
            return cls.none(rows.shape[1])
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
            np.clip(part, -_CLIPPED, _CLIPPED, out=block[: len(part)])
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


_MOST_ROWS: Final = 500_000
_BLOCK: Final = 256
_CLIPPED: Final = 5.0  # deviations from the mean: farther values would dominate
_ARRAYS: Final = ("inward", "bends", "outward")


def _clipped(rows: Any) -> Any:
    return np.clip(rows, -_CLIPPED, _CLIPPED)


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

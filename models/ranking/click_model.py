"""Will the user click what is shown? Logistic regression over any columns, with probabilities that can be trusted.

No recommender: it says something about rows of impressions, not about users and all items.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.datasets.labels import LABEL
from models.errors import TailorbirdError
from models.features.encoding.encoder import Config as EncodingConfig
from models.features.encoding.encoder import Encoder
from models.primitives.nested_state import part_of, under
from models.primitives.state import State

_ENCODER: Final = "encoder."


class ClickModelError(TailorbirdError):
    """There is nothing to learn."""


@dataclass(frozen=True)
class Config:
    """Settings of ClickModel."""

    inverse_penalty: float = 1.0
    """scikit-learn's C: smaller shrinks the coefficients more (L2)."""
    max_iterations: int = 500
    """Of the solver (L-BFGS), which stops by itself long before on scaled columns."""
    encoding: EncodingConfig = field(default_factory=EncodingConfig)
    """How columns become numbers."""


@dataclass(frozen=True)
class ClickModel:
    """Filling, scaling and coding as learned from the training rows, and one coefficient for each encoded column."""

    config: Config
    encoder: Encoder
    coefficients: NDArray[np.float64]
    intercept: float

    @classmethod
    def fit(cls, rows: pa.Table, columns: Sequence[str], config: Config, seed: int) -> Self:
        """Learn `label` (0 or 1) from `columns` of rows that are the training part alone.

        Raises ClickModelError without both clicked and unclicked rows.
        """
        from sklearn.linear_model import LogisticRegression  # only a fit needs it

        clicked = np.asarray(rows[LABEL]).astype(np.int64)
        if len(np.unique(clicked)) < 2:
            raise ClickModelError("A click model needs impressions with and without a click: label a longer time.")
        encoder = Encoder.fit(rows, columns, config.encoding, seed)
        matrix, _ = encoder.transform(rows)
        model = LogisticRegression(C=config.inverse_penalty, max_iter=config.max_iterations, random_state=seed)
        model.fit(matrix.astype(np.float64), clicked)
        return cls(config, encoder, model.coef_[0].astype(np.float64), float(model.intercept_[0]))

    @property
    def names(self) -> NDArray[np.str_]:
        """What each coefficient belongs to."""
        return self.encoder.names

    def probabilities(self, rows: pa.Table) -> NDArray[np.float64]:
        """[n] probability of a click. To compare items for a place not yet given, set one position for all rows."""
        from scipy.special import expit

        matrix, _ = self.encoder.transform(rows)
        probabilities: NDArray[np.float64] = expit(matrix @ self.coefficients + self.intercept)
        return probabilities

    def state(self) -> State:
        """All arrays that `from_state` needs."""
        own: State = {"coefficients": self.coefficients, "intercept": np.asarray(self.intercept)}
        return own | under(_ENCODER, self.encoder.state())

    @classmethod
    def from_state(cls, config: Config, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """The model that gave this state: same probabilities."""
        encoder = Encoder.from_state(part_of(_ENCODER, state))
        return cls(config, encoder, state["coefficients"], float(state["intercept"]))

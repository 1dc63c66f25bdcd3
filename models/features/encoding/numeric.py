"""Encode a column of numbers: missing values filled, heavy tails shortened, mean 0 and deviation 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.primitives.arrow import pa

if TYPE_CHECKING:
    from models.primitives.arrow_types import ArrowColumn

HEAVY_TAIL: Final = 2.0
"""Skewness (third standardised moment) above which a tail is heavy; that of the exponential distribution."""

Imputation = Literal["median", "mean"]


@dataclass(frozen=True)
class Scaled:
    """The fitted values of one column; a missing number is null, NaN or infinite."""

    kind: ClassVar[str] = "scaled"

    logged: bool
    """Whether log(1 + x) comes first: no negative number, a heavy tail, and a less skewed logarithm."""
    fill: float
    """The value of a missing number; like `mean`, on the scale after the logarithm."""
    mean: float
    factor: float
    """1 / standard deviation; 0 for a constant, which carries no information."""
    flagged: bool
    """Whether missing numbers have a column of their own: only if the fit had any."""

    @classmethod
    def fit(cls, values: ArrowColumn, imputation: Imputation) -> Self:
        """Learn from an Arrow column of numbers. Mean and deviation are those of the filled column."""
        numbers = _numbers(values)
        known = numbers[np.isfinite(numbers)]
        flagged = len(known) < len(numbers)
        if not len(known):
            return cls(logged=False, fill=0.0, mean=0.0, factor=0.0, flagged=flagged)
        logged = _heavy(known)
        known = np.log1p(known) if logged else known
        fill = float(np.median(known) if imputation == "median" else known.mean())
        filled = np.concatenate([known, np.full(len(numbers) - len(known), fill)])
        deviation = float(filled.std())
        # The deviation of equal numbers can be a rounding error above 0.
        factor = 1 / deviation if np.ptp(known) > 0 and deviation > 0 else 0.0
        return cls(logged, fill, float(filled.mean()), factor, flagged)

    def names(self, column: str) -> list[str]:
        """Return the column itself and its flag, if it has one."""
        return [column, f"{column}=missing"] if self.flagged else [column]

    def encode(self, values: ArrowColumn) -> sparse.csr_array:
        """Return float32 CSR, rows x `names`."""
        numbers = _numbers(values)
        missing = ~np.isfinite(numbers)
        numbers[missing] = 0.0
        scale = np.log1p(np.maximum(numbers, 0.0)) if self.logged else numbers
        scaled = (np.where(missing, self.fill, scale) - self.mean) * self.factor
        blocks = [scaled, missing] if self.flagged else [scaled]
        return sparse.csr_array(np.column_stack(blocks).astype(np.float32))


def _numbers(values: ArrowColumn) -> NDArray[np.float64]:
    """Return a copy as float64, NaN for null."""
    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return np.array(whole.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def _heavy(known: NDArray[np.float64]) -> bool:
    if known.min() < 0:
        return False
    skew = _skewness(known)
    return skew > HEAVY_TAIL and abs(_skewness(np.log1p(known))) < skew


def _skewness(values: NDArray[np.float64]) -> float:
    """Return the skewness; 0 for a constant."""
    centred = values - values.mean()
    deviation = float(np.sqrt(np.mean(centred**2)))
    return float(np.mean((centred / deviation) ** 3)) if deviation > 0 else 0.0

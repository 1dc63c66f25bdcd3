"""Store rows of numbers for known (row, column) pairs; most pairs have none."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.primitives.state import State


@dataclass(frozen=True)
class Lookup:
    """n known pairs among `width` columns, in order of their code: row x width + column."""

    width: int
    code: NDArray[np.int64]
    """[n] ascending."""
    values: NDArray[np.float32]
    """[n, f]"""

    @classmethod
    def of(cls, rows: NDArray[Any], columns: NDArray[Any], width: int, values: NDArray[np.float32]) -> Self:
        """Build it from pairs that occur once each; pairs with a negative position are left out."""
        known = np.flatnonzero((rows >= 0) & (columns >= 0))
        code = rows[known].astype(np.int64) * width + columns[known]
        order = np.argsort(code)
        return cls(width, code[order], values[known[order]])

    def find(self, rows: NDArray[Any], columns: NDArray[Any], otherwise: float = np.nan) -> NDArray[np.float32]:
        """Return the values of m pairs as [m, f]; `otherwise` for unknown pairs."""
        values = np.full((len(rows), self.values.shape[1]), otherwise, dtype=np.float32)
        if len(self.code):
            code = rows.astype(np.int64) * self.width + columns
            place = np.minimum(np.searchsorted(self.code, code), len(self.code) - 1)
            known = np.flatnonzero(self.code.take(place) == code)
            values[known] = self.values.take(place.take(known), axis=0)
        return values

    def state(self, name: str) -> State:
        """Return its arrays, each prefixed with `name`."""
        return {f"{name}.width": np.array(self.width), f"{name}.code": self.code, f"{name}.values": self.values}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray[Any, Any]], name: str) -> Self:
        """Rebuild it from its state."""
        return cls(int(state[f"{name}.width"]), state[f"{name}.code"], state[f"{name}.values"])

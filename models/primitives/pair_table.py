"""Rows of numbers by (row, column) position, most of which have none: what is known of pairs."""

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
        """From pairs that occur once each; those with a negative position are left out."""
        known = np.flatnonzero((rows >= 0) & (columns >= 0))
        code = rows[known].astype(np.int64) * width + columns[known]
        order = np.argsort(code)
        return cls(width, code[order], values[known[order]])

    def find(self, rows: NDArray[Any], columns: NDArray[Any], otherwise: float = np.nan) -> NDArray[np.float32]:
        """[m, f] the values of m pairs, `otherwise` where nothing is known."""
        found = np.full((len(rows), self.values.shape[1]), otherwise, dtype=np.float32)
        if len(self.code):
            wanted = rows.astype(np.int64) * self.width + columns
            place = np.minimum(np.searchsorted(self.code, wanted), len(self.code) - 1)
            known = np.flatnonzero(self.code.take(place) == wanted)
            found[known] = self.values.take(place.take(known), axis=0)
        return found

    def state(self, name: str) -> State:
        """Its arrays, each prefixed with `name`."""
        return {f"{name}.width": np.array(self.width), f"{name}.code": self.code, f"{name}.values": self.values}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray[Any, Any]], name: str) -> Self:
        """What gave that state."""
        return cls(int(state[f"{name}.width"]), state[f"{name}.code"], state[f"{name}.values"])

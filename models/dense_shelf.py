"""Candidates from scores of all items that are in memory."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.score_keys import candidates, keys
from models.shelf import Fetched

_CELLS: Final = 1_000_000
# Scores handled at once: their keys, 8 MB, stay near the processor.


@dataclass(frozen=True, eq=False)
class DenseSource:
    """The best of some columns of a matrix of scores."""

    scores: NDArray[np.float32]
    """[m, n_items] of the whole chunk."""
    items: NDArray[np.int32]
    """[c] positions, ascending."""

    def fetch(self, rows: NDArray[np.int64], n: int) -> Fetched:
        """The `n` best of those rows in one pass over their scores; asking again for more costs one more pass."""
        width = len(self.items)
        found = np.empty((len(rows), n), dtype=np.uint64)
        step = max(1, _CELLS // width)
        for start in range(0, len(rows), step):
            block = slice(start, start + step)
            ranked = keys(self._scores(rows[block]), self.items)
            if n < width:
                ranked = np.partition(ranked, n - 1, axis=1)[:, :n]
            found[block] = np.sort(ranked, axis=1)
        return candidates(found)

    def _scores(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        scores = self.scores[rows]
        return scores if len(self.items) == scores.shape[1] else np.take(scores, self.items, axis=1)


@dataclass(frozen=True, eq=False)
class DenseShelf:
    """A `Shelf` of scores [m, n_items]; NaN and -inf are never candidates."""

    scores: NDArray[np.float32]

    def among(self, items: NDArray[np.int32]) -> DenseSource:
        """Candidates from these items alone, without copying their scores."""
        return DenseSource(self.scores, items)

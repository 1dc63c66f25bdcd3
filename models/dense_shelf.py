"""Candidates from scores of all items that are in memory."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.score_keys import NONE, candidates, keys
from models.shelf import Fetched

_CELLS: Final = 250_000
# Scores handled at once: 1 MB stays near the processor.


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
            scores = self._scores(rows[block])
            found[block] = np.sort(_best(scores, self.items, n) if n < width else keys(scores, self.items), axis=1)
        return candidates(found)

    def _scores(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        scores = self.scores[rows]
        return scores if len(self.items) == scores.shape[1] else np.take(scores, self.items, axis=1)


def _best(scores: NDArray[np.float32], items: NDArray[np.int32], n: int) -> NDArray[np.uint64]:
    """[r, n] the keys of the best, in any order, n < len(items)."""
    falling = np.where(scores > -np.inf, -scores, np.float32(np.inf))
    least = np.partition(falling, n - 1, axis=1)[:, n - 1, None]
    chosen = (falling <= least) & (falling < np.inf)
    count = np.count_nonzero(chosen, axis=1)
    found = np.empty((len(scores), n), dtype=np.uint64)
    # Only what may be among the best needs keys, unless so much ties with the last of them that it is half of a row.
    tied = count > max(2 * n, scores.shape[1] // 2)
    found[tied] = np.partition(keys(scores[tied], items), n - 1, axis=1)[:, :n]
    chosen, count = chosen[~tied], count[~tied]
    row, column = np.nonzero(chosen)
    wide = np.full((len(count), max(n, int(count.max(initial=0)))), NONE)
    wide[np.arange(wide.shape[1]) < count[:, None]] = keys(scores[~tied][row, column], items[column])
    found[~tied] = np.partition(wide, n - 1, axis=1)[:, :n]
    return found


@dataclass(frozen=True, eq=False)
class DenseShelf:
    """A `Shelf` of scores [m, n_items]; NaN and -inf are never candidates."""

    scores: NDArray[np.float32]

    def among(self, items: NDArray[np.int32]) -> DenseSource:
        """Candidates from these items alone, without copying their scores."""
        return DenseSource(self.scores, items)

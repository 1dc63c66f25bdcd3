"""Texts of many items, of which each is kept once: arrays of all items are then made without looking at each text."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class RepeatedTexts:
    """The texts of n items."""

    texts: Sequence[str]
    """Each text once; the last one is empty, and stands for unknown items."""
    number: NDArray[np.int32]
    """[n] the place of each item's text in `texts`."""

    @classmethod
    def of(cls, texts: Sequence[str | None]) -> Self:
        """Return the texts of n items; None counts as an empty text."""
        numbers = defaultdict[str | None, int](count().__next__)
        number = np.fromiter(map(numbers.__getitem__, texts), dtype=np.int32, count=len(texts))
        return cls([*(text or "" for text in numbers), ""], number)

    def of_rows(self, rows: NDArray[np.int64]) -> NDArray[np.str_]:
        """Return the texts of the items in these rows; that of row -1 is empty."""
        texts: NDArray[np.str_] = np.array(self.texts, dtype=np.str_)[np.append(self.number, -1)[rows]]
        return texts

"""The items beside one item for which there is the strongest evidence."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

_MOST: Final = 500
"""Further ones would change a blended list little."""


class Neighbours(NamedTuple):
    """The items with the strongest evidence beside one item."""

    items: NDArray[np.int32]
    """Positions, ascending."""
    strength: NDArray[np.float32]
    """Above 0."""


def strongest(items: NDArray[np.int64], strength: NDArray[np.float32]) -> Neighbours:
    """Return the strongest of these items, which are ascending."""
    positive = np.flatnonzero(strength > 0)
    if len(positive) > _MOST:
        positive = np.sort(positive[np.argpartition(-strength[positive], _MOST)[:_MOST]])
    return Neighbours(items[positive].astype(np.int32), strength[positive])

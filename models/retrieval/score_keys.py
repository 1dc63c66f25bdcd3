"""One number for a candidate, so that plain sorting puts the best first and ties in order of position."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.retrieval.source_protocols import TopCandidates

NONE: Final = np.uint64(2**64 - 1)
"""The key of no candidate: greater than all others."""

_SIGN: Final = np.uint32(1 << 31)
_MAGNITUDE: Final = np.uint32(_SIGN - 1)


def keys(scores: NDArray[np.float32], items: NDArray[np.int32]) -> NDArray[np.uint64]:
    """Keys of candidates, whose ascending order is that of descending scores and then of ascending `items`.

    A score of NaN or -inf, or an item of -1, is no candidate. The two arrays have one shape, or broadcast to one.
    """
    # Adding 0 makes -0 the same as 0. The bits of numbers from 0 up grow with them, those of lesser ones against them.
    bits = (scores + np.float32(0)).view(np.uint32)
    falling = np.where(bits < _SIGN, bits ^ _MAGNITUDE, bits).astype(np.uint64)
    found = falling << np.uint64(32) | items.astype(np.uint32)
    return np.where((scores > -np.inf) & (items >= 0), found, NONE)


def candidates(found: NDArray[np.uint64]) -> TopCandidates:
    """The candidates that have these keys."""
    items = found.astype(np.uint32).view(np.int32)
    falling = (found >> np.uint64(32)).astype(np.uint32)
    scores = np.where(falling < _SIGN, falling ^ _MAGNITUDE, falling).view(np.float32)
    return TopCandidates(items, np.where(items < 0, np.float32(-np.inf), scores))

"""Packs (score, item) into a uint64 that sorts by descending score, then ascending item."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.retrieval.source_protocols import TopCandidates

NO_CANDIDATE: Final = np.uint64(2**64 - 1)
"""The key of an empty place: greater than all others."""

_SIGN: Final = np.uint32(1 << 31)
_MAGNITUDE: Final = np.uint32(_SIGN - 1)


def keys(scores: NDArray[np.float32], items: NDArray[np.int32]) -> NDArray[np.uint64]:
    """Return keys whose ascending order is that of descending scores and then of ascending `items`.

    A score of NaN or -inf, or an item of -1, is no candidate. The two arrays have one shape, or broadcast to one.
    """
    # Adding 0 turns -0 into 0. The bits of non-negative floats grow with their values; those of negative ones fall.
    bits = (scores + np.float32(0)).view(np.uint32)
    falling = np.where(bits < _SIGN, bits ^ _MAGNITUDE, bits).astype(np.uint64)
    packed = falling << np.uint64(32) | items.astype(np.uint32)
    return np.where((scores > -np.inf) & (items >= 0), packed, NO_CANDIDATE)


def candidates(packed: NDArray[np.uint64]) -> TopCandidates:
    """Return the candidates that have these keys."""
    items = packed.astype(np.uint32).view(np.int32)
    falling = (packed >> np.uint64(32)).astype(np.uint32)
    scores = np.where(falling < _SIGN, falling ^ _MAGNITUDE, falling).view(np.float32)
    return TopCandidates(items, np.where(items < 0, np.float32(-np.inf), scores))

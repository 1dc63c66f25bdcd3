"""Computes the limits of a group-sequential test, with which an experiment may be read every day."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

ALPHA: Final = 0.05
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(201)
_ROOT: Final = np.sqrt(2 * np.pi)
_FARTHEST: Final = 12.0
"""In normal deviates: a limit that nothing reaches."""
_LEAST: Final = 1e-12
"""A smaller chance of an error is not spent: the limit would be beyond `_FARTHEST`."""


def spent(fraction: float, alpha: float = ALPHA) -> float:
    """Return the chance of an error that is spent up to a fraction of the planned information.

    Both tails together, by the spending function of Lan and DeMets (1983) that is like the limits of O'Brien and
    Fleming: little at first, so that the last look needs hardly more evidence than a test without looks.
    """
    return float(4 * ndtr(ndtri(alpha / 4) / np.sqrt(min(fraction, 1.0))))


def limits(fractions: Sequence[float], alpha: float = ALPHA) -> NDArray[np.float64]:
    """Return [looks] how many normal deviates away from 0 a difference has to be at each look, by either side.

    `fractions` are the shares of the planned information at the looks, ascending in (0, 1]. By recursive integration
    (Armitage, McPherson and Rowe 1969) of the Brownian motion B(t) that has not left the limits. Raises ValueError for
    fractions that do not ascend.
    """
    from scipy.optimize import brentq  # its import takes a tenth of a second, which most runs do not need

    times = np.asarray(fractions, dtype=np.float64)
    if not len(times) or times[0] <= 0 or (np.diff(times) <= 0).any() or times[-1] > 1:
        raise ValueError(f"fractions ascend in (0, 1], and are {list(fractions)}")
    result = np.empty(len(times))
    places, mass = np.zeros(1), np.ones(1)  # B(0) is 0
    before = at = 0.0
    for look, time in enumerate(times):
        step, root = np.sqrt(time - at), np.sqrt(time)
        target = spent(time, alpha) - before

        def crossing(limit: float) -> float:
            outside = ndtr((places - limit * root) / step) + ndtr((-limit * root - places) / step)  # noqa: B023
            return float(mass @ outside)  # noqa: B023 -- used within this look only

        result[look] = _FARTHEST if target < _LEAST else brentq(lambda z: crossing(z) - target, 0.0, _FARTHEST)  # noqa: B023
        width = result[look] * root
        following = _NODES * width
        density = np.exp(-(((following[:, None] - places) / step) ** 2) / 2) @ mass / step / _ROOT
        before, at = before + (target if target >= _LEAST else 0.0), time
        places, mass = following, _WEIGHTS * width * density
    return result

"""Item vectors that show changes of taste.

The champion's own factors are not suitable. They were fitted to events before the cut, so users look more consistent
before it than after. On the Complete Journey, six of seven weeks after the cut looked like drift.
"""

from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from models.columns import CATEGORY_SEPARATOR

_SIZE: Final = 32


def item_vectors(items: NDArray[np.str_], category: NDArray[np.str_]) -> NDArray[np.float32]:
    """Return [n, 32] the sum of a random direction for each level of an item's category path.

    The more levels two items share, the more similar they are (random projections, Achlioptas 2003). Items without a
    category are 0. If no item has a category, each item has a direction of its own.
    """
    names = category if (category != "").any() else items
    paths, place = np.unique(names, return_inverse=True)
    vectors = np.zeros((len(paths), _SIZE), dtype=np.float32)
    for row, name in enumerate(paths.tolist()):
        levels = name.split(CATEGORY_SEPARATOR) if name else []
        for depth in range(len(levels)):
            vectors[row] += _direction(CATEGORY_SEPARATOR.join(levels[: depth + 1]))
    return vectors[place]


def _direction(name: str) -> NDArray[np.float32]:
    """Return a direction that depends only on the name."""
    signs = np.random.default_rng(crc32(name.encode())).integers(0, 2, _SIZE)
    return (2 * signs - 1).astype(np.float32)

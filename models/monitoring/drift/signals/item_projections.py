"""Vectors of items, in which it shows that people care for other things than before.

A champion's own factors will not do: they were fitted to what people did before its cut, where everybody is truer to
his taste by them than he can be afterwards. On the Complete Journey six of seven weeks after it looked like drift.
"""

from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from models.columns import CATEGORY_SEPARATOR

_SIZE: Final = 32


def item_vectors(items: NDArray[np.str_], category: NDArray[np.str_]) -> NDArray[np.float32]:
    """[n, 32] a random direction for each level of an item's category path, added up: the more levels two items share,
    the more alike they are (random projections, Achlioptas 2003). Zeros for items without a category; where none has
    any, a direction for each item."""
    names = category if (category != "").any() else items
    paths, place = np.unique(names, return_inverse=True)
    vectors = np.zeros((len(paths), _SIZE), dtype=np.float32)
    for row, name in enumerate(paths.tolist()):
        levels = name.split(CATEGORY_SEPARATOR) if name else []
        for depth in range(len(levels)):
            vectors[row] += _direction(CATEGORY_SEPARATOR.join(levels[: depth + 1]))
    return vectors[place]


def _direction(name: str) -> NDArray[np.float32]:
    """The same for the same name, always and everywhere."""
    signs = np.random.default_rng(crc32(name.encode())).integers(0, 2, _SIZE)
    return (2 * signs - 1).astype(np.float32)

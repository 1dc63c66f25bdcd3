"""Find the positions of words in a sorted vocabulary."""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

NO_INDEX: Final = -1
"""The index that stands for no item or no user, such as a slot of a list without an item."""


def index_of(vocabulary: NDArray[np.str_], keys: NDArray[np.str_] | pa.Array | pa.ChunkedArray) -> NDArray[np.int32]:
    """Return the position in `vocabulary` of each of `keys` (numpy or Arrow strings), -1 if it is absent."""
    if keys is vocabulary:
        return np.arange(len(vocabulary), dtype=np.int32)
    if not len(keys):
        return np.empty(0, dtype=np.int32)
    position = pc.index_in(_text(keys), value_set=_text(vocabulary))
    return np.asarray(pc.fill_null(position, -1), dtype=np.int32)


def position_of(vocabulary: NDArray[np.str_], key: str) -> int:
    """Return the position of one key in a sorted vocabulary, -1 if it is absent, in steps of halving."""
    place = int(np.searchsorted(vocabulary, key))
    # NumPy's texts end before a NUL, so that the found one is compared as Python's.
    return place if place < len(vocabulary) and str(vocabulary[place]) == key else NO_INDEX


def words(values: pa.Array | pa.ChunkedArray) -> NDArray[np.str_]:
    """Return an Arrow column of words as an array; null becomes an empty text."""
    return np.array(pc.fill_null(values, "").to_pylist(), dtype=np.str_)


def _text(values: NDArray[np.str_] | pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a column of words as one Arrow array of one type, because Arrow's look-ups need equal types."""
    if isinstance(values, np.ndarray):
        return pa.array(values.tolist(), pa.large_string())
    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else pa.array(values)
    return whole.cast(pa.large_string())

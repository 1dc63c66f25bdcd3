"""Positions of words in a sorted vocabulary."""

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def index_of(vocabulary: NDArray[np.str_], keys: Any) -> NDArray[np.int32]:
    """Position in `vocabulary` of each of `keys` (numpy or Arrow strings), -1 where it is not there."""
    if keys is vocabulary:
        return np.arange(len(vocabulary), dtype=np.int32)
    if not len(keys):
        return np.empty(0, dtype=np.int32)
    found = pc.index_in(_text(keys), value_set=_text(vocabulary))
    return np.asarray(pc.fill_null(found, -1), dtype=np.int32)


def words(values: Any) -> NDArray[np.str_]:
    """An Arrow column of words as an array; empty where there is none."""
    return np.array(pc.fill_null(values, "").to_pylist(), dtype=np.str_)


def _text(values: Any) -> Any:
    """Any column of words as one Arrow array of one type, for Arrow's look-ups insist on equal types."""
    if isinstance(values, np.ndarray):
        return pa.array(values.tolist(), pa.large_string())
    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else pa.array(values)
    return whole.cast(pa.large_string())


NO_INDEX: Final = -1
"""Stands where there are fewer allowed items than places."""

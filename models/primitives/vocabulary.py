"""Find the positions of words in a sorted vocabulary."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Final
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from models.primitives.arrow_types import pa, pc

NO_INDEX: Final = -1
"""The index that stands for no item or no user, such as a slot of a list without an item."""
_FEW: Final = 32
"""So few keys are looked up one by one, without reading all of the vocabulary."""


def index_of(vocabulary: NDArray[np.str_], keys: NDArray[np.str_] | pa.Array | pa.ChunkedArray) -> NDArray[np.int32]:
    """Return the position in `vocabulary` of each of `keys` (numpy or Arrow strings), -1 if it is absent."""
    if keys is vocabulary:
        return np.arange(len(vocabulary), dtype=np.int32)
    if not len(keys):
        return np.empty(0, dtype=np.int32)
    if isinstance(keys, np.ndarray):
        return _index_of_words(vocabulary, keys)
    position = pc.index_in(as_text(keys), value_set=as_text(pa.array(vocabulary.tolist())))
    return np.asarray(pc.fill_null(position, -1), dtype=np.int32)


def _index_of_words(vocabulary: NDArray[np.str_], keys: NDArray[np.str_]) -> NDArray[np.int32]:
    """Return the first position of each key, -1 if it is absent; as fast as Arrow, which servers do not import."""
    if len(keys) <= _FEW:
        return np.array([position_of(vocabulary, key) for key in keys.tolist()], dtype=np.int32)
    first = dict(zip(reversed(vocabulary.tolist()), range(len(vocabulary) - 1, -1, -1), strict=True))
    return np.array([first.get(key, NO_INDEX) for key in keys.tolist()], dtype=np.int32)


def position_of(vocabulary: NDArray[np.str_], key: str) -> int:
    """Return the position of one key in a vocabulary, -1 if it is absent, in steps of halving.

    Only users who were rekeyed after a rotation are not sorted; their order is found at the first look-up.
    """
    order = _order(vocabulary)
    # NumPy would copy a vocabulary whose texts are shorter than the key, and ends texts before a NUL.
    if order is None:
        place = bisect_left(vocabulary, key)
    else:
        nth = bisect_left(order, key, key=lambda at: str(vocabulary[at]))
        place = int(order[nth]) if nth < len(order) else len(vocabulary)
    return place if place < len(vocabulary) and str(vocabulary[place]) == key else NO_INDEX


_ORDERS: Final[dict[int, tuple[Any, NDArray[np.int64] | None]]] = {}


def _order(vocabulary: NDArray[np.str_]) -> NDArray[np.int64] | None:
    """Return the positions in ascending order of their words; None if the words are sorted."""
    known = _ORDERS.get(id(vocabulary))
    if known is not None and known[0]() is vocabulary:
        return known[1]
    is_sorted = bool((vocabulary[:-1] <= vocabulary[1:]).all())
    order = None if is_sorted else np.argsort(vocabulary, kind="stable")
    number = id(vocabulary)
    _ORDERS[number] = ref(vocabulary, lambda _: _ORDERS.pop(number, None)), order
    return order


def positions_of(vocabulary: NDArray[np.str_], keys: Sequence[str]) -> NDArray[np.int32]:
    """Return the positions in a sorted vocabulary of those keys that it has, in the order of the keys."""
    longest = vocabulary.dtype.itemsize // 4
    possible = [key for key in keys if len(key) <= longest and "\0" not in key]
    if not possible or not len(vocabulary):
        return np.empty(0, dtype=np.int32)
    wanted = np.array(possible, dtype=vocabulary.dtype)
    place = np.minimum(np.searchsorted(vocabulary, wanted), len(vocabulary) - 1)
    found: NDArray[np.int32] = place[vocabulary[place] == wanted].astype(np.int32)
    return found


def words(values: pa.Array | pa.ChunkedArray) -> NDArray[np.str_]:
    """Return an Arrow column of words as an array; null becomes an empty text."""
    return np.array(pc.fill_null(values, "").to_pylist(), dtype=np.str_)


def as_text(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a column of words as one Arrow array of one type, because Arrow's look-ups need equal types."""
    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else pa.array(values)
    return whole.cast(pa.large_string())

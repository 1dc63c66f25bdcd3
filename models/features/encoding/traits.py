"""Prepare traits, which are often numbers written as text, for encoding and for reading."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.primitives.arrow_types import ArrowColumn, pa, pc

_NUMBER: Final = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


def is_number(kind: pa.DataType) -> bool:
    """Return whether columns of this Arrow type are scaled rather than treated as words."""
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    return any(test(kind) for test in tests)


def as_numbers(values: ArrowColumn) -> ArrowColumn:
    """Return float64; null if a text is not a number."""
    if is_number(values.type):
        return values.cast(pa.float64())
    text = pc.utf8_trim_whitespace(values.cast(pa.large_string()))
    return pc.if_else(pc.match_substring_regex(text, _NUMBER), text, None).cast(pa.float64())


def known(traits: pa.Table, columns: Sequence[str]) -> NDArray[np.bool_]:
    """Return whether any of the columns has a value ([n])."""
    has_value = np.zeros(traits.num_rows, dtype=bool)
    for name in set(columns) & set(traits.column_names):
        has_value |= np.asarray(traits[name].is_valid())
    return has_value


def readable(traits: pa.Table) -> pa.Table:
    """Return numbers as the range of their fifth of all values, such as `18 to 27`, and text unchanged."""
    columns = {
        name: _ranges(traits[name]) if is_number(traits[name].type) else traits[name] for name in traits.column_names
    }
    return pa.table(columns) if columns else traits


def _ranges(values: ArrowColumn) -> ArrowColumn:
    from models.features.encoding.encoder import fifths

    numbers = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(numbers)
    if not finite.any():
        return pa.nulls(len(numbers), pa.large_string())
    edges = np.unique(fifths(numbers[finite]))
    ends = [numbers[finite].min(), *edges, numbers[finite].max()]
    names = np.array([f"{low:g} to {high:g}" for low, high in pairwise(ends)])
    return pa.array(names[np.searchsorted(edges, numbers)].tolist(), pa.large_string(), mask=~finite)

"""Distinct values of numbers."""

import numpy as np
import pytest
from numpy.typing import NDArray

from models.primitives.distinct import distinct


@pytest.mark.parametrize(
    "values",
    [
        np.array([], dtype=np.int64),
        np.array([7], dtype=np.int32),
        np.array([3, 1, 3, 2, 1], dtype=np.int64),
        np.array([2**64 - 1, 0, 2**64 - 1], dtype=np.uint64),
        np.random.default_rng(7).integers(-50, 50, 1000),
    ],
)
def test_values_are_those_of_numpy_with_their_type(values: NDArray[np.int64]) -> None:
    given = values.copy()
    found = distinct(values)
    assert found.dtype == values.dtype
    assert found.tolist() == np.unique(values).tolist()
    assert (values == given).all()

import numpy as np
from scipy import sparse

from models.primitives.state import entries


def test_the_entries_of_some_rows_come_row_by_row_and_an_unknown_row_has_none() -> None:
    matrix = sparse.csr_array(np.array([[1, 0, 2], [0, 0, 0], [0, 3, 4]]))
    row, at = entries(matrix.indptr, np.array([2, -1, 0, 1, 2]))
    assert row.tolist() == [0, 0, 2, 2, 4, 4]
    assert matrix.data[at].tolist() == [3, 4, 1, 2, 3, 4]
    assert matrix.indices[at].tolist() == [1, 2, 0, 2, 1, 2]


def test_of_no_rows_there_are_no_entries() -> None:
    assert len(entries(np.array([0, 2]), np.empty(0, dtype=np.int32)).row) == 0

"""State, entries of CSR matrices, and tables of pairs."""

import numpy as np
from scipy import sparse

from models.primitives.state import Lookup, entries, part_of, under


def test_a_part_comes_out_as_it_went_in_and_leaves_the_others_alone() -> None:
    one, other = {"a": np.arange(2), "b.c": np.arange(3)}, {"a": np.arange(4)}
    state = under("one.", one) | under("other.", other) | {"one": np.arange(5)}
    assert list(state) == ["one.a", "one.b.c", "other.a", "one"]
    result = part_of("one.", state)
    assert {name: array.tolist() for name, array in result.items()} == {"a": [0, 1], "b.c": [0, 1, 2]}
    assert part_of("none.", state) == {}


def test_the_entries_of_some_rows_come_row_by_row_and_an_unknown_row_has_none() -> None:
    matrix = sparse.csr_array(np.array([[1, 0, 2], [0, 0, 0], [0, 3, 4]]))
    row, at = entries(matrix.indptr, np.array([2, -1, 0, 1, 2]))
    assert row.tolist() == [0, 0, 2, 2, 4, 4]
    assert matrix.data[at].tolist() == [3, 4, 1, 2, 3, 4]
    assert matrix.indices[at].tolist() == [1, 2, 0, 2, 1, 2]


def test_of_no_rows_there_are_no_entries() -> None:
    assert len(entries(np.array([0, 2]), np.empty(0, dtype=np.int32)).row) == 0


def of(rows: list[int], columns: list[int], values: list[float]) -> Lookup:
    numbers = np.array(values, dtype=np.float32)[:, None]
    return Lookup.of(np.array(rows), np.array(columns), 10, numbers)


def test_a_pair_gives_its_own_values_in_any_order() -> None:
    known = of([2, 0, 1], [3, 9, 0], [23.0, 9.0, 10.0])
    result = known.find(np.array([0, 1, 2]), np.array([9, 0, 3]))
    np.testing.assert_array_equal(result[:, 0], [9.0, 10.0, 23.0])


def test_unknown_pairs_give_what_was_asked_for_instead() -> None:
    known = of([0], [9], [9.0])
    assert np.isnan(known.find(np.array([1]), np.array([9]))).all()
    np.testing.assert_array_equal(known.find(np.array([5, 0]), np.array([5, 9]), otherwise=0.0)[:, 0], [0.0, 9.0])


def test_pairs_of_strangers_are_left_out() -> None:
    assert len(of([-1, 0, 1], [1, -1, 1], [1.0, 2.0, 3.0]).code) == 1


def test_nothing_known_is_no_error() -> None:
    assert np.isnan(of([], [], []).find(np.array([1, 2]), np.array([1, 2]))).all()

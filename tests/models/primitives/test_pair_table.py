import numpy as np

from models.primitives.state import Lookup


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

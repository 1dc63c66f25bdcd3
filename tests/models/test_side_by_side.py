import threading

import pytest
from threadpoolctl import threadpool_info

from models.side_by_side import _openmp, side_by_side


def test_what_is_made_of_the_parts_comes_in_their_order() -> None:
    assert side_by_side(lambda part: part * part, range(50)) == [part * part for part in range(50)]


def test_a_single_part_is_worked_on_where_it_is_asked_for() -> None:
    assert side_by_side(lambda _: threading.get_ident(), [0]) == [threading.get_ident()]
    assert side_by_side(str, []) == []


def test_what_goes_wrong_in_a_part_is_heard() -> None:
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda part: 1 // part, [1, 0, 2])


def openmp_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp"}


@pytest.mark.parametrize("parts", [1, 4])
def test_libraries_have_one_thread_in_each_part_and_afterwards_as_many_as_before(parts: int) -> None:
    _openmp.cache_clear()  # another test may have opened a library since that has threads of its own
    side_by_side(str, [0])  # opens the libraries
    before = openmp_threads()
    assert side_by_side(lambda _: openmp_threads(), range(parts)) == [{1}] * parts
    assert openmp_threads() == before

from collections.abc import Iterator
from threading import Barrier, Event

import pytest

from models.ahead import ahead


def test_results_come_in_the_order_of_the_pieces_whoever_is_first() -> None:
    first_may_end = Event()

    def work(piece: int) -> int:
        first_may_end.wait(5) if piece == 0 else first_may_end.set()
        return piece * piece

    assert list(ahead(work, range(9), 2)) == [piece * piece for piece in range(9)]


def test_the_next_is_worked_on_while_somebody_is_busy_with_the_last() -> None:
    second = Event()

    def work(piece: int) -> int:
        if piece == 1:
            second.set()
        return piece

    results = ahead(work, range(3), 1)
    assert next(results) == 0
    assert second.wait(5)
    assert list(results) == [1, 2]


def test_two_threads_work_at_the_same_time() -> None:
    both = Barrier(2)
    assert sorted(ahead(lambda _: both.wait(5), range(2), 2)) == [0, 1]


def test_no_more_is_worked_out_than_somebody_soon_asks_for() -> None:
    begun: list[int] = []

    def pieces() -> Iterator[int]:
        for piece in range(100):
            begun.append(piece)
            yield piece

    results = ahead(lambda piece: piece, pieces(), 2)
    for asked in range(1, 6):
        next(results)
        assert len(begun) <= asked + 2
    results.close()  # type: ignore[attr-defined]
    assert len(begun) <= 7


def test_what_goes_wrong_is_told_in_its_place_and_nothing_is_no_error() -> None:
    results = ahead(lambda piece: 1 // piece, [1, 0, 1], 1)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(ahead(str, [], 1)) == []

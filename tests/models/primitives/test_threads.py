import threading
from collections.abc import Iterator
from threading import Barrier, Event

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from models.primitives.threads import allowed_threads, one_thread, parallel_map, prefetch_map, thread_pool
from models.retrieval.candidate_sources import best_products


def openmp_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp"}


@pytest.mark.parametrize("parts", [1, 4])
def test_libraries_have_one_thread_in_each_part_and_as_many_as_before_afterwards(parts: int) -> None:
    allowed_threads()  # loads the library
    before = openmp_threads()
    assert parallel_map(lambda _: openmp_threads(), range(parts)) == [{1}] * parts
    assert openmp_threads() == before


@pytest.mark.parametrize(("allowed", "most", "shares"), [(4, 2, 2), (4, 1, 4), (1, 3, 1), (2, 8, 1)])
def test_the_threads_of_a_pool_share_the_threads_of_the_caller(allowed: int, most: int, shares: int) -> None:
    with threadpool_limits(allowed, "openmp"), thread_pool(most) as pool:
        assert pool.submit(allowed_threads).result() == shares
        assert len({pool.submit(threading.get_ident).result() for _ in range(9)}) <= min(most, allowed)


def test_a_one_thread_limit_holds_in_nested_pools_and_for_blas_and_ends() -> None:
    before = threadpool_info()
    with one_thread():
        inside = next(prefetch_map(lambda _: parallel_map(lambda _: threadpool_info(), range(2)), [0], 2))
        assert {pool["num_threads"] for result in inside for pool in result} == {1}
    assert threadpool_info() == before


def test_products_are_the_same_to_the_last_digit_on_any_number_of_threads() -> None:
    random = np.random.default_rng(0)
    queries, vectors = (random.normal(size=(n, 64)).astype(np.float32) for n in (1500, 20_000))

    def result(threads: int) -> bytes:
        with threadpool_limits(threads, "openmp"):
            return b"".join(part.tobytes() for part in best_products(queries, vectors, 50))

    assert result(1) == result(2) == result(5)


def test_results_come_in_the_order_of_the_pieces() -> None:
    first_may_end = Event()

    def work(piece: int) -> int:
        first_may_end.wait(5) if piece == 0 else first_may_end.set()
        return piece * piece

    assert list(prefetch_map(work, range(9), 2)) == [piece * piece for piece in range(9)]


def test_the_next_piece_runs_while_the_caller_uses_the_last_result() -> None:
    second = Event()

    def work(piece: int) -> int:
        if piece == 1:
            second.set()
        return piece

    results = prefetch_map(work, range(3), 1)
    assert next(results) == 0
    assert second.wait(5)
    assert list(results) == [1, 2]


def test_two_threads_work_at_the_same_time() -> None:
    both = Barrier(2)
    with threadpool_limits(2, "openmp"):
        assert sorted(prefetch_map(lambda _: both.wait(5), range(2), 2)) == [0, 1]


def test_only_a_few_pieces_run_ahead_of_the_caller() -> None:
    begun: list[int] = []

    def pieces() -> Iterator[int]:
        for piece in range(100):
            begun.append(piece)
            yield piece

    results = prefetch_map(lambda piece: piece, pieces(), 2)
    for count in range(1, 6):
        next(results)
        assert len(begun) <= count + 2
    results.close()  # type: ignore[attr-defined]
    assert len(begun) <= 7


def test_an_error_is_raised_at_its_position_and_no_pieces_are_no_error() -> None:
    results = prefetch_map(lambda piece: 1 // piece, [1, 0, 1], 1)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(prefetch_map(str, [], 1)) == []

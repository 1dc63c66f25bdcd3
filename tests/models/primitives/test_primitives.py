"""State, pairs, vocabularies, statements, threads and reasons, which all models stand on."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import product
from threading import Event
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import threadpool_info, threadpool_limits

from models.errors import reason_fault
from models.primitives.arrow_sql import query, texts
from models.primitives.distinct import distinct
from models.primitives.state import Lookup, entries, part_of, under
from models.primitives.threads import allowed_threads, one_thread, parallel_map, prefetch_map, thread_pool
from models.primitives.time import moment
from models.primitives.vocabulary import NO_INDEX, index_of, position_of, positions_of
from models.retrieval.candidate_sources import best_products

WORDS = np.array(["", "a", "b", "É", "日本"])
PRINT_NOON = """
import pyarrow as pa
import pyarrow.compute as pc
from models.primitives.arrow_sql import query

noon = pa.table({"moment": pa.array([1_483_272_000_000_000], pa.timestamp("us", tz="UTC"))})
result = query("SELECT moment, moment::varchar AS text FROM rows", rows=noon)
print(result["text"][0], pc.strftime(result["moment"], "%H")[0])
"""


PRINT_THREADS = """
from models.primitives.arrow_sql import engine

print(engine().sql("SELECT current_setting('threads')").fetchall()[0][0])
"""


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


@pytest.mark.parametrize("vocabulary", [WORDS, np.array(["b", "", "É", "a"]), WORDS[:0]], ids=["sorted", "any", "none"])
def test_few_words_many_and_those_of_arrow_are_found_alike(vocabulary: Any) -> None:
    few = np.array(["b", "zz", "", "日本", "É", "b", "longer than any"])
    places = [next((at for at, known in enumerate(vocabulary) if known == word), NO_INDEX) for word in few.tolist()]
    assert index_of(vocabulary, few).tolist() == places
    assert index_of(vocabulary, np.tile(few, 9)).tolist() == places * 9
    assert index_of(vocabulary, pa.array(few.tolist())).tolist() == places
    assert index_of(vocabulary, pa.chunked_array([few.tolist(), [None]], pa.string())).tolist() == [*places, NO_INDEX]


@pytest.mark.parametrize("word", ["a\0", "\0", "b\0\0"])
def test_a_word_that_ends_in_nul_is_another_word(word: str) -> None:
    assert position_of(WORDS, word) == NO_INDEX


def test_one_word_is_found_among_words_that_were_renamed() -> None:
    renamed = np.array(["b", "", "É", "a"])
    assert [position_of(renamed, word) for word in ("b", "", "É", "a", "c", "zz")] == [0, 1, 2, 3, -1, -1]


def test_many_words_are_found_in_their_order() -> None:
    keys = ["b", "zz", "a\0", "É", "", "b", "日本語です", "a"]
    assert positions_of(WORDS, keys).tolist() == [2, 3, 0, 2, 1]
    assert positions_of(WORDS, []).tolist() == positions_of(np.empty(0, dtype=np.str_), keys).tolist() == []


@pytest.mark.parametrize(
    ("at", "text"), [(0, "1970-01-01 00:00"), (86_399, "1970-01-01 23:59:59"), (86_400.0, "1970-01-02 00:00")]
)
def test_a_moment_has_its_seconds_if_a_minute_has_begun(at: float, text: str) -> None:
    assert moment(at) == text


@pytest.mark.parametrize("reason", ["", " ", "…", "...", "-", "?!", "„…“", "\u200b", "\x00"])
def test_a_reason_of_punctuation_alone_is_refused_with_an_example(reason: str) -> None:
    expected = 'Say why it is undone, in words, such as --reason "the wrong file": it is recorded.'
    assert reason_fault(reason, "it is undone", "the wrong file") == expected


@pytest.mark.parametrize(("reason", "around"), product(["ok", "pierwszy model", "7", "良い", "źle"], ["{}", "… {} !"]))
def test_a_reason_with_a_word_in_any_script_is_taken(reason: str, around: str) -> None:
    assert reason_fault(around.format(reason), "it is undone", "the wrong file") is None


def test_a_statement_has_as_many_threads_as_the_environment_allows() -> None:
    command = [sys.executable, "-c", PRINT_THREADS]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "1"


def test_rows_keep_their_order_when_there_are_many() -> None:
    rows = pa.table({"a": range(500_000)})
    assert query("SELECT a + 1 AS b FROM rows", rows=rows)["b"].to_numpy().tolist() == list(range(1, 500_001))


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
def test_a_time_is_the_same_text_wherever_the_machine_stands(zone: str) -> None:
    command = [sys.executable, "-c", PRINT_NOON]
    output = subprocess.run(command, env=os.environ | {"TZ": zone}, check=True, capture_output=True, text=True).stdout
    assert output == "2017-01-01 12:00:00+00 12\n"


def test_a_list_of_texts_survives_quotes() -> None:
    hostile = ["it's", 'a "quote"', "back\\slash", "$1", ""]
    assert query(f"SELECT unnest({texts(hostile)}) AS t")["t"].to_pylist() == hostile


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

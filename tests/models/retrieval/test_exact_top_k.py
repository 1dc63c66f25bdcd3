import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.retrieval.exact_top_k import best_products, best_scores, products
from tests.models.reference_ranking import top_k

# Few distinct values, so that ties, silence and NaN are common.
VALUES = st.sampled_from([-np.inf, np.nan, -1.0, 0.0, 0.5, 0.5000001, 2.0, 3.0]).map(np.float32)
WHOLE = st.integers(-2, 2).map(np.float32)


@given(st.data())
def test_the_best_scores_are_those_of_sorting(data: st.DataObject) -> None:
    m, width, n = data.draw(st.integers(0, 5)), data.draw(st.integers(0, 12)), data.draw(st.integers(0, 14))
    scores = data.draw(hnp.arrays(np.float32, (m, width), elements=VALUES))
    before, best, expected = scores.copy(), best_scores(scores, n), top_k(scores, n)
    np.testing.assert_array_equal(best.places, expected.items)
    np.testing.assert_array_equal(best.scores, expected.scores)
    np.testing.assert_array_equal(scores, before)


@given(st.data())
def test_the_best_products_are_those_of_sorting_all_of_them(data: st.DataObject) -> None:
    m, width, d = data.draw(st.integers(0, 5)), data.draw(st.integers(0, 30)), data.draw(st.integers(1, 3))
    queries, vectors = (data.draw(hnp.arrays(np.float32, (count, d), elements=WHOLE)) for count in (m, width))
    n = data.draw(st.integers(0, 32))
    best, expected = best_products(queries, vectors, n), top_k(queries @ vectors.T, n)
    np.testing.assert_array_equal(best.places, expected.items)
    np.testing.assert_array_equal(best.scores, expected.scores)


@pytest.mark.parametrize("n", [1, 5, 99, 100, 150, 1000])
def test_of_many_equal_products_the_first_are_kept(n: int) -> None:
    vectors = np.ones((3000, 2), dtype=np.float32)
    vectors[1500:, 0] = 2
    best = best_products(np.array([[1, 0], [0, 1], [-1, 0]], dtype=np.float32), vectors, n)
    assert best.places.tolist() == [list(range(1500, 1500 + n)), list(range(n)), list(range(n))]
    assert (best.scores[:, 0]).tolist() == [2, 1, -1]


@pytest.mark.parametrize("n", [50, 120, 1000])
def test_few_queries_are_answered_as_many_are_and_twice_the_same(n: int) -> None:
    random = np.random.default_rng(0)
    queries, vectors = (random.normal(size=(count, 65)).astype(np.float32) for count in (1500, 5000))
    whole, again = (best_products(queries, vectors, n) for _ in range(2))
    np.testing.assert_array_equal(whole.places, again.places)
    np.testing.assert_array_equal(whole.scores, again.scores)
    expected = top_k(queries @ vectors.T, n)
    np.testing.assert_allclose(whole.scores, expected.scores, rtol=1e-4)
    assert (whole.places == expected.items).mean() > 0.999
    for rows in ([7], [3, 299], list(range(0, 300, 7))):
        np.testing.assert_allclose(best_products(queries[rows], vectors, n).scores, whole.scores[rows], rtol=1e-4)


def test_products_of_pairs_are_those_of_the_whole_matrix_and_of_nobody_there_is_none() -> None:
    random = np.random.default_rng(1)
    queries, vectors = (random.normal(size=(count, 7)).astype(np.float32) for count in (4, 9))
    rows, places = np.array([0, 3, -1, 2], dtype=np.int32), np.array([8, 0, 1, 2])
    result = products(queries, vectors, rows, places)
    expected = np.where(rows < 0, -np.inf, (queries @ vectors.T)[rows, places])
    np.testing.assert_allclose(result, expected, rtol=1e-5)
    assert len(products(queries, vectors, rows[:0], places[:0])) == 0

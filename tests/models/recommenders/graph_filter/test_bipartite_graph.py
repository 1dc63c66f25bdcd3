import numpy as np
from scipy import sparse

from models.recommenders.graph_filter.model import normalised, power, singular


def test_a_basket_is_divided_by_powers_of_both_degrees() -> None:
    baskets = sparse.csr_array(np.array([[4, 5], [0, 4]], dtype=np.float32))
    result = normalised(baskets, np.array([4, 9], np.float32), user_exponent=0.5, item_exponent=0.5)
    np.testing.assert_allclose(result.toarray(), [[4 / 6, 5 / 9], [0, 4 / 6]], rtol=1e-6)
    assert result.dtype == np.float32


def test_a_degree_of_nothing_stays_nothing_whatever_the_power() -> None:
    assert power(np.array([0, 4], np.float32), -0.5).tolist() == [0, 0.5]
    assert power(np.array([0, 4], np.float32), 0).tolist() == [0, 1]


def test_the_largest_singular_values_come_first_and_the_vectors_are_of_length_one() -> None:
    matrix = np.random.default_rng(2).random((30, 20)).astype(np.float32)
    values, vectors = singular(sparse.csr_array(matrix), 3, seed=1)
    _, expected, rows = np.linalg.svd(matrix)
    np.testing.assert_allclose(values, expected[:3], rtol=1e-2)
    np.testing.assert_allclose(np.abs(vectors[:, 0]), np.abs(rows[0]), rtol=1e-2)
    np.testing.assert_allclose((vectors**2).sum(axis=0), 1, rtol=1e-4)


def test_the_signs_of_the_vectors_do_not_depend_on_the_seed() -> None:
    matrix = sparse.csr_array(np.random.default_rng(2).random((30, 20)).astype(np.float32))
    (_, one), (_, other) = (singular(matrix, 1, seed) for seed in (1, 2))
    np.testing.assert_allclose(one, other, rtol=1e-3)


def test_there_are_never_more_vectors_than_rows_or_columns() -> None:
    values, vectors = singular(sparse.csr_array(np.eye(3, 5, dtype=np.float32)), 64, seed=1)
    assert (len(values), vectors.shape) == (3, (5, 3))

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse

from models.datasets.cold_start import NewUsers
from models.datasets.training_data import TrainingData
from models.recommenders.graph_filter import Config, GraphFilter, singular

ROWS = [("a", "x", 99, "1"), ("a", "y", 99, "2"), ("b", "y", 99, "3"), ("b", "z", 99, "4"), ("c", "z", 99, "5")]
BASKETS = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 1]])
FOREVER = 1e9
ALL = Config(half_life_days=FOREVER, memory_days=FOREVER, components=3, low_pass=0, sharpening=0)


def scores(data: TrainingData, config: Config) -> np.ndarray:
    return GraphFilter.fit(data, config, 0).scores(np.arange(len(data.users), dtype=np.int32))


def normalised() -> np.ndarray:
    """Baskets over the roots of both degrees; their largest singular value is 1 (Shen et al. 2021)."""
    graph: np.ndarray = BASKETS / np.sqrt(np.outer(BASKETS.sum(axis=1), BASKETS.sum(axis=0)))
    return graph


def test_the_plain_filter_goes_to_the_users_alike_and_back(small) -> None:
    graph = normalised()
    np.testing.assert_allclose(scores(small(ROWS), ALL), BASKETS @ graph.T @ graph, rtol=1e-4, atol=1e-6)


def test_the_low_pass_adds_the_largest_singular_vectors(small) -> None:
    _, _, vectors = np.linalg.svd(normalised())
    low, root = vectors[:2].T @ vectors[:2], np.sqrt(BASKETS.sum(axis=0))
    expected = scores(small(ROWS), ALL) + 0.7 * (BASKETS / root) @ low * root
    result = scores(small(ROWS), replace(ALL, components=2, low_pass=0.7))
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def test_sharpening_holds_the_shared_tastes_back(small) -> None:
    values = np.linalg.svd(normalised(), compute_uv=False)
    response = GraphFilter.fit(small(ROWS), replace(ALL, low_pass=0.5, sharpening=0.8), 0).response
    np.testing.assert_allclose(response, 0.5 * (1 - 0.8 * values**2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("exponent", [0.0, 0.3, 1.0])
def test_the_largest_singular_value_is_one_whatever_the_exponents(small, exponent: float) -> None:
    settings = replace(ALL, user_exponent=exponent, item_exponent=exponent, low_pass=1, sharpening=1)
    assert GraphFilter.fit(small(ROWS), settings, 0).response[0] == pytest.approx(0, abs=1e-5)


def test_popularity_multiplies_by_a_power_of_the_degree(small) -> None:
    plain, popular = (scores(small(ROWS), replace(ALL, popularity_exponent=power)) for power in (0, 0.5))
    np.testing.assert_allclose(popular, plain * np.sqrt([1, 2, 2]), rtol=1e-4, atol=1e-6)


def test_a_user_who_clicked_what_another_bought_is_scored_like_that_user(small) -> None:
    model = GraphFilter.fit(small(ROWS), replace(ALL, low_pass=0.5), 0)
    clicks = pa.table({"user_key": ["n", "n"], "item_id": ["y", "z"]})
    new = model.with_users(NewUsers.of(pa.table({"user_key": ["n"]}), clicks, model.items))
    b, n = np.array([1], np.int32), np.array([0], np.int32)
    np.testing.assert_allclose(new.scores(n), model.scores(b), rtol=1e-6)
    assert new.reasons(n, n) == ["Because you looked at y"]


def test_crowded_and_sparse_products_are_the_same(data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    result = []
    for share in (0.0, 1.0):
        monkeypatch.setattr("models.recommenders.graph_filter._CROWDED", share)
        result.append(scores(data, Config()))
    np.testing.assert_allclose(*result, rtol=1e-4, atol=1e-6)


def test_an_item_that_nobody_had_is_not_scored(small) -> None:
    data = small(ROWS)
    retained = data.item != 0
    data = replace(data, **{name: getattr(data, name)[retained] for name in ("user", "item", "occurred_at", "basket")})
    result = scores(data, replace(ALL, low_pass=1))
    assert (result[:, 0] == -np.inf).all()
    assert np.isfinite(result[:, 1:]).all()


def test_a_reason_names_the_strongest_own_item(small) -> None:
    data = replace(small(ROWS), item_titles=np.array(["Xylophone", "Yams", "Zebra"]))
    model = GraphFilter.fit(data, ALL, 0)
    assert model.reasons(np.array([0, 2, -1], np.int32), np.array([2, 1, 1], np.int32)) == [
        "Because you bought Yams",
        "Because you bought Zebra",
        "You may like this",
    ]


def test_evidence_of_the_own_items_adds_up_to_the_score(data: TrainingData) -> None:
    model = GraphFilter.fit(data, Config(components=8), 0)
    users, items = np.arange(10, dtype=np.int32), np.arange(20, 30, dtype=np.int32)
    total = np.asarray(model._evidence(users, items).sum(axis=1)).ravel()
    np.testing.assert_allclose(total, model.scores(users)[np.arange(10), items], rtol=1e-3, atol=1e-6)


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

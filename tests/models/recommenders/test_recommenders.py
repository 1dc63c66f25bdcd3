import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse
from threadpoolctl import threadpool_info

from models.datasets.cold_start import NewUsers
from models.datasets.training_data import TrainingData, build
from models.features.encoding.encoder import Tags
from models.recommenders.als import Config as ALSConfig
from models.recommenders.als import ImplicitALS
from models.recommenders.content_based import Config as ContentConfig
from models.recommenders.content_based import ContentBased, ItemVectors, Weights
from models.recommenders.graph_filter import Config, GraphFilter, singular

ROWS = [("a", "x", 99, "1"), ("a", "y", 99, "2"), ("b", "y", 99, "3"), ("b", "z", 99, "4"), ("c", "z", 99, "5")]
BASKETS = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 1]])
FOREVER = 1e9
ALL = Config(half_life_days=FOREVER, memory_days=FOREVER, components=3, low_pass=0, sharpening=0)
DAY = 86_400
TITLES = ["Oat milk 16 oz", "Whole milk", "Claw hammer", "Oat bread", "16 2"]
CATEGORIES = ["FOOD|DAIRY", "FOOD|DAIRY", "TOOLS", None, None]
FIT = """
import pyarrow as pa
from models.recommenders.als import Config as ALSConfig, ImplicitALS
from models.datasets.training_data import build
events = {"user_key": ["a"], "item_id": ["x"], "occurred_at": [1], "session_id": ["s"]}
item = {"item_id": ["x"], "title": ["x"], "category": ["C"], "available": [True]}
data = build(pa.table(events), pa.table({"user_key": ["a"]}), pa.table(item), 2)
try:
    ImplicitALS.fit(data, ALSConfig(), 0)
except Exception as error:
    print(type(error).__name__, error)
"""


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


@pytest.fixture(scope="module")
def described() -> TrainingData:
    """Five items; ann buys oat milk, and whole milk long ago, bob the hammer, cy what nothing is known of."""
    rows = [("ann", "a", 100), ("ann", "b", 10), ("bob", "c", 100), ("cy", "e", 100), ("dee", "d", 100)]
    user, item, day = zip(*rows, strict=True)
    sold = {"user_key": user, "item_id": item, "occurred_at": [d * DAY for d in day], "session_id": user}
    items = {"item_id": list("abcde"), "title": TITLES, "category": CATEGORIES, "brand": ["x", "y", "x", "y", None]}
    catalogue = pa.table({**items, "available": [True] * 5})
    users = pa.table({"user_key": sorted(set(user))})
    columns = pa.table({name: list(values) for name, values in sold.items()})
    return build(columns, users, catalogue, 101 * DAY, (), ("category", "brand"))


def vectors(data: TrainingData, **weights: float) -> np.ndarray:
    chosen = Weights(**({"title": 0.0, "category": 0.0, "attributes": 0.0} | weights))
    language = ItemVectors.fit(data.item_titles, data.item_tags, data.item_tag_rules)
    return language.vectors(data.item_titles, data.item_tags, chosen).toarray()


def requested(model: ContentBased, user: str) -> np.ndarray:
    return model.scores(np.array([model.users.tolist().index(user)], np.int32))[0]


def test_items_are_alike_by_the_words_they_share_the_rare_ones_more(described: TrainingData) -> None:
    oat_milk, whole_milk, hammer, oat_bread, empty = vectors(described, title=1.0)
    assert 0 < oat_milk @ whole_milk < 1
    assert oat_milk @ hammer == 0
    assert oat_milk @ oat_bread > 0
    assert not empty.any()
    n = len(TITLES)
    milk, once = np.log((1 + n) / 3) + 1, np.log((1 + n) / 2) + 1
    # "oat" and "milk" are each in two of the five titles, "oz", "whole" and "bread" in one.
    expected = milk * milk / (np.sqrt(2 * milk**2 + once**2) * np.sqrt(milk**2 + once**2))
    assert oat_milk @ whole_milk == pytest.approx(expected, rel=1e-5)


def test_items_of_one_category_are_alike_whatever_they_are_called(described: TrainingData) -> None:
    oat_milk, whole_milk, hammer, *_ = vectors(described, category=1.0)
    assert oat_milk @ whole_milk == pytest.approx(1)
    assert oat_milk @ hammer == 0


def test_weights_decide_between_brand_and_category(described: TrainingData) -> None:
    by_category = vectors(described, category=1.0, attributes=0.1)
    by_brand = vectors(described, category=0.1, attributes=1.0)
    assert by_category[0] @ by_category[1] > by_category[0] @ by_category[2]
    assert by_brand[0] @ by_brand[1] < by_brand[0] @ by_brand[2]


def test_a_profile_leans_to_what_was_bought_of_late(described: TrainingData) -> None:
    model = ContentBased.fit(described, ContentConfig(half_life_days=14), seed=0)
    oat_milk, whole_milk, hammer, oat_bread, _ = requested(model, "ann")
    assert oat_milk > whole_milk > hammer
    assert oat_milk > 0.95  # the whole milk has decayed to 1 %
    assert oat_bread > hammer


def test_items_of_which_nothing_is_known_are_not_scored(described: TrainingData) -> None:
    model = ContentBased.fit(described, ContentConfig(), seed=0)
    assert (requested(model, "cy") == -np.inf).all()
    assert requested(model, "ann")[4] == -np.inf


def test_scores_are_cosines(described: TrainingData) -> None:
    model = ContentBased.fit(described, ContentConfig(), seed=0)
    assert requested(model, "bob")[2] == pytest.approx(1)
    assert model.scores(np.arange(4, dtype=np.int32)).max() <= 1 + 1e-6


def test_items_without_tags_differ_by_their_titles() -> None:
    titles, rules = np.array(["oat milk", "oat"]), Tags.fit(pa.table({}), ())
    tags = rules.encode(pa.table({"item_id": ["a", "b"]}))
    result = ItemVectors.fit(titles, tags, rules).vectors(titles, tags, Weights(1, 1, 1)).toarray()
    assert 0 < result[0] @ result[1] < 1


def test_reasons_name_a_category_with_evidence_or_claim_nothing(described: TrainingData) -> None:
    model = ContentBased.fit(described, ContentConfig(), seed=0)
    assert model.reasons(np.array([0, 0], np.int32), np.array([1, 3], np.int32)) == [
        "You bought from dairy on 2 days",
        "You may like this",
    ]


@pytest.fixture(scope="module")
def model(data: TrainingData) -> ImplicitALS:
    return ImplicitALS.fit(data, ALSConfig(factors=16), seed=0)


def clicks(*pairs: tuple[str, str]) -> pa.Table:
    user, item = zip(*pairs, strict=True)
    return pa.table({"user_key": list(user), "item_id": list(item)})


def test_bought_items_score_near_one_and_others_near_zero(small) -> None:
    rows = [
        (user, item, 99, f"{user}{item}") for user, items in (("a", "xy"), ("b", "xy"), ("c", "z")) for item in items
    ]
    model = ImplicitALS.fit(small(rows), ALSConfig(factors=2, regularization=0.001, alpha=20), seed=0)
    bought = [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    np.testing.assert_allclose(model.scores(np.arange(3, dtype=np.int32)), bought, atol=0.05)


def test_a_new_user_is_solved_by_the_papers_equation_around_the_mean_user(model: ImplicitALS) -> None:
    events = clicks(("n", "i03"), ("n", "i07"), ("n", "i07"))
    new = model.with_users(NewUsers.of(pa.table({"user_key": ["n"]}), events, model.items))
    count = np.zeros(len(model.items))
    count[[3, 7]] = [1, 2]
    mean, items = model.mean_user.astype(np.float64), model.item_factors.astype(np.float64)
    sure = model.config.click_weight * model.config.alpha * np.log1p(count)
    confidence, expected_items = np.where(count > 0, sure, 1), np.where(count > 0, 1, items @ mean)
    penalty = model.config.regularization
    remaining = items.T @ (confidence[:, None] * items) + penalty * np.eye(16)
    expected = np.linalg.solve(remaining, items.T @ (confidence * expected_items) + penalty * mean)
    np.testing.assert_allclose(new.user_factors[0], expected, rtol=1e-3, atol=1e-5)


def test_fits_at_a_time_leave_the_threads_of_blas_as_they_were(data: TrainingData) -> None:
    def threads() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = threads()
    with ThreadPoolExecutor(4) as pool:
        fitted = list(pool.map(lambda seed: ImplicitALS.fit(data, ALSConfig(factors=16), seed), (0, 1, 2, 0, 1, 2)))
    assert threads() == before
    np.testing.assert_array_equal(fitted[0].item_factors, fitted[3].item_factors)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' wheels bring their own OpenMP")
def test_a_system_without_openmp_gets_a_message_with_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "libgomp.so.1").write_bytes(b"")  # found first, and not to be loaded
    command = [sys.executable, "-c", FIT]
    surroundings = os.environ | {"LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("TailorbirdError ALS needs the system's OpenMP library")
    assert "libgomp1" in done.stdout

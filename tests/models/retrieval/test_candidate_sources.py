"""Every shelf ranks as the reference ranks the whole matrix of scores."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from models.datasets.training_data import TrainingData
from models.primitives.vocabulary import NO_INDEX
from models.recommenders.als import ImplicitALS
from models.recommenders.lightfm import LightFMHybrid
from models.recommenders.protocols import Recommender
from models.retrieval.candidate_query import CandidatePairs, CandidateScope, best_by_scores, first_of_order
from models.retrieval.candidate_sources import (
    CandidateSource,
    DenseSource,
    Factored,
    FactorSource,
    PairSource,
    TopCandidates,
    best_products,
    best_scores,
    products,
)
from tests.models.reference_ranking import top_k

# Few distinct values, so that ties, silence and NaN are common.
EXTREME = (-np.inf, np.nan, -1e30, -1e-45, -0.0, 1e-45, 1e30)
VALUES = st.sampled_from([*EXTREME, -1.0, 0.0, 0.5, 0.5000001, 2.0]).map(np.float32)
M, N = 5, 11
ROWS, C = 4, 9
ITEMS = np.arange(C) * 3 + 1
FEW = st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0]).map(np.float32)
HIDDEN = hnp.arrays(bool, (ROWS, C))


def of_pairs(scores: np.ndarray) -> PairSource:
    """From pairs in no order."""
    row, item = np.nonzero(np.ones(scores.shape, dtype=bool))
    mixed = np.random.default_rng(0).permutation(len(row))
    return PairSource.of(len(scores), row[mixed], item[mixed], scores[row[mixed], item[mixed]])


def expected(scores: np.ndarray, items: np.ndarray, rows: np.ndarray, n: int) -> TopCandidates:
    allowed = np.zeros(scores.shape[1], dtype=bool)
    allowed[items] = True
    ranked = top_k(scores[rows], n, allowed)
    return TopCandidates(ranked.items, ranked.scores)


def check(result: TopCandidates, expected_items: TopCandidates) -> None:
    np.testing.assert_array_equal(result.items, expected_items.items)
    np.testing.assert_array_equal(result.scores, expected_items.scores)
    assert (result.items.dtype, result.scores.dtype) == (np.int32, np.float32)


some_items = st.sets(st.integers(0, N - 1)).map(lambda chosen: np.array(sorted(chosen), dtype=np.int32))
some_rows = st.lists(st.integers(0, M - 1), max_size=7).map(lambda chosen: np.array(chosen, dtype=np.int64))


@pytest.mark.parametrize("shelf", [DenseSource, of_pairs])
@given(hnp.arrays(np.float32, (M, N), elements=VALUES), some_items, some_rows, st.integers(1, 14))
def test_scores_and_pairs_are_ranked_as_by_sorting(
    shelf: Callable[[np.ndarray], CandidateSource], scores: np.ndarray, items: np.ndarray, rows: np.ndarray, n: int
) -> None:
    check(shelf(scores).restrict_to(items).fetch(rows, n), expected(scores, items, rows, n))


def test_items_below_the_least_product_are_not_found() -> None:
    products = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], dtype=np.float32)
    result = FactorSource(products, products[:1], least=0.05).restrict_to(np.arange(3, dtype=np.int32))
    fetched = result.fetch(np.array([0]), 3)
    assert fetched.items.tolist() == [[0, 2, NO_INDEX]]
    assert fetched.scores[0, 2] == -np.inf


vectors = hnp.arrays(np.float32, (N, 2), elements=st.integers(-2, 2).map(np.float32))
queries = hnp.arrays(np.float32, (M, 2), elements=st.integers(-2, 2).map(np.float32))


@given(vectors, queries, some_items, some_rows, st.integers(1, 14), st.integers(0, M), st.integers(0, N))
def test_products_are_ranked_as_by_sorting_and_what_is_not_finite_is_never_found(
    vectors: np.ndarray,
    queries: np.ndarray,
    items: np.ndarray,
    rows: np.ndarray,
    n: int,
    unscored: int,
    unknown: int,
) -> None:
    scores = queries @ vectors.T
    scores[unscored:], scores[:, unknown:] = -np.inf, -np.inf
    queries[unscored:], vectors[unknown:, 1] = np.nan, -np.inf
    check(FactorSource(vectors, queries).restrict_to(items).fetch(rows, n), expected(scores, items, rows, n))


def test_nothing_among_nothing_is_no_error() -> None:
    no_items, rows = np.empty(0, dtype=np.int32), np.arange(2)
    shelves = [
        FactorSource(np.ones((3, 2), dtype=np.float32), np.ones((2, 2), dtype=np.float32)),
        DenseSource(np.ones((2, 3), dtype=np.float32)),
        PairSource.of(2, rows[:0], rows[:0], np.empty(0, dtype=np.float32)),
    ]
    for shelf in shelves:
        result = shelf.restrict_to(no_items).fetch(rows, 3)
        assert (result.items == -1).all()
        assert (result.scores == -np.inf).all()
        assert shelf.restrict_to(no_items).fetch(rows[:0], 3).items.shape == (0, 3)


def test_pairs_are_laid_out_in_blocks_that_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(3).normal(size=(40, 30)).astype(np.float32)
    whole = of_pairs(scores).fetch(np.arange(40), 7)
    monkeypatch.setattr("models.retrieval.candidate_sources._BLOCK", 50)
    check(of_pairs(scores).fetch(np.arange(40), 7), whole)


@pytest.mark.parametrize("kind", [ImplicitALS, LightFMHybrid])
def test_models_of_factors_rank_by_products_as_by_scores(kind: type[Recommender], data: TrainingData) -> None:
    model = kind.fit(data, kind.config_type(), 0)
    assert isinstance(model, Factored)
    users = np.append(np.arange(len(data.users)), -1).astype(np.int32)
    everything = np.arange(len(data.items), dtype=np.int32)
    scores = model.scores(users)
    result = (
        FactorSource(model.item_vectors, model.queries(users)).restrict_to(everything).fetch(np.arange(len(users)), 10)
    )
    ranked = top_k(scores, 10)
    np.testing.assert_allclose(result.scores, ranked.scores, rtol=1e-4, atol=1e-5)
    assert (result.items == ranked.items).mean() > 0.99
    assert (result.items[-1] == -1).all()
    assert np.isnan(model.queries(users)[-1]).all()


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


def scope(hidden: np.ndarray) -> CandidateScope:
    return CandidateScope(ITEMS, *np.nonzero(hidden))


def pairs(candidates: CandidatePairs) -> set[tuple[int, int]]:
    result = list(zip(candidates.row.tolist(), candidates.item.tolist(), strict=True))
    assert len(set(result)) == len(result)
    return set(result)


def ranked(scores: np.ndarray, hidden: np.ndarray, n: int) -> set[tuple[int, int]]:
    places = top_k(scores, n, hide=sparse.csr_array(hidden)).items
    return {(row, int(ITEMS[place])) for row, own in enumerate(places.tolist()) for place in own if place >= 0}


@given(hnp.arrays(np.float32, (ROWS, C), elements=FEW), HIDDEN, st.integers(1, 11), st.integers(1, 60))
def test_the_best_are_those_of_ranking_whatever_is_worked_out_at_once(
    scores: np.ndarray, hidden: np.ndarray, n: int, block: int
) -> None:
    users = np.arange(ROWS, dtype=np.int32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.retrieval.candidate_query._BLOCK", block)
        candidates = best_by_scores(lambda some: scores[some], users, scope(hidden), n)
    assert pairs(candidates) == ranked(scores, hidden, n)


@given(hnp.arrays(np.float32, C, elements=FEW.filter(np.isfinite)), hnp.arrays(bool, ROWS), HIDDEN, st.integers(1, 11))
def test_one_order_for_all_names_what_ranking_does_for_each(
    scores: np.ndarray, known: np.ndarray, hidden: np.ndarray, n: int
) -> None:
    everybodys = np.where(known[:, None], scores, np.float32(-np.inf))
    assert pairs(first_of_order(np.argsort(-scores, kind="stable"), known, scope(hidden), n)) == ranked(
        everybodys, hidden, n
    )


def test_nobody_is_no_error() -> None:
    nobody = CandidateScope(ITEMS, np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    scores = np.ones(C, dtype=np.float32)
    assert not pairs(first_of_order(np.argsort(-scores, kind="stable"), np.empty(0, dtype=bool), nobody, 3))
    assert not pairs(best_by_scores(lambda some: np.ones((len(some), C), np.float32), np.empty(0, np.int32), nobody, 3))

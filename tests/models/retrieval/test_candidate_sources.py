"""Every shelf ranks as the reference ranks the whole matrix of scores."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.datasets.training_data import TrainingData
from models.primitives.vocabulary import NO_INDEX
from models.recommenders.als import ImplicitALS
from models.recommenders.baselines.most_popular import MostPopular
from models.recommenders.lightfm.model import LightFMHybrid
from models.recommenders.protocols import Recommender
from models.retrieval.candidate_sources import DenseSource, Factored, FactorSource, PairSource
from models.retrieval.source_protocols import CandidateSource, TopCandidates
from tests.models.reference_ranking import top_k

# Few distinct values, so that ties, silence and NaN are common.
VALUES = st.sampled_from([-np.inf, np.nan, -1.0, 0.0, 0.5, 0.5000001, 2.0, 3.0]).map(np.float32)
M, N = 5, 11


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


def test_a_model_without_factors_is_not_taken_for_one_with_factors(data: TrainingData) -> None:
    assert not isinstance(MostPopular.fit(data, MostPopular.config_type(), 0), Factored)


SCORES = st.sampled_from([-np.inf, np.nan, -1e30, -1.0, -1e-45, -0.0, 0.0, 1e-45, 0.5, 0.5000001, 2.0, 1e30]).map(
    np.float32
)


@st.composite
def cases(draw):
    m, n = draw(st.integers(1, 4)), draw(st.integers(1, 12))
    scores = draw(hnp.arrays(np.float32, (m, n), elements=SCORES))
    restrict_to = np.array(sorted(draw(st.sets(st.integers(0, n - 1), min_size=1))), dtype=np.int32)
    rows = np.array(draw(st.permutations(range(m)))[: draw(st.integers(0, m))], dtype=np.int64)
    return scores, restrict_to, rows, draw(st.integers(1, len(restrict_to)))


def brute_force(scores, restrict_to, n):
    may = [item for item in restrict_to.tolist() if scores[item] > -np.inf]
    best = sorted(may, key=lambda item: (-scores[item], item))[:n]
    missing = n - len(best)
    return [*best, *[-1] * missing], [*scores[best].tolist(), *[-np.inf] * missing]


@given(cases())
def test_of_extreme_scores_the_best_come_first_and_ties_in_order_of_position(case) -> None:
    scores, restrict_to, rows, n = case
    fetched = DenseSource(scores).restrict_to(restrict_to).fetch(rows, n)
    assert (fetched.items.dtype, fetched.scores.dtype) == (np.int32, np.float32)
    assert fetched.items.shape == fetched.scores.shape == (len(rows), n)
    for at, row in enumerate(rows):
        items, values = brute_force(scores[row], restrict_to, n)
        assert fetched.items[at].tolist() == items
        assert fetched.scores[at].tolist() == values


def test_asking_for_more_goes_on_where_less_ended() -> None:
    scores = np.random.default_rng(0).integers(0, 50, (3, 1000)).astype(np.float32)
    source = DenseSource(scores).restrict_to(np.arange(0, 1000, 2, dtype=np.int32))
    less, more = (source.fetch(np.array([2, 0]), n) for n in (10, 500))
    np.testing.assert_array_equal(less.items, more.items[:, :10])
    np.testing.assert_array_equal(less.scores, more.scores[:, :10])
    assert (np.sort(more.items, axis=1) == np.arange(0, 1000, 2)).all()

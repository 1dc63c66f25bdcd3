import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

import models.retrieval.full_catalogue
from models.retrieval.full_catalogue import Ranking, top_k

# Few distinct values, so that ties, silence and NaN are common.
VALUES = st.sampled_from([-np.inf, np.nan, -1.0, 0.0, 0.5, 0.5000001, 2.0, 3.0])


def brute_force(scores, k, allowed, fallback, hide) -> Ranking:
    """The same by sorting Python lists, row by row."""
    m, n = scores.shape
    out = Ranking(np.full((m, k), -1), np.full((m, k), -np.inf), np.zeros((m, k), dtype=bool))
    for row in range(m):
        may = [i for i in range(n) if allowed[i] and not hide[row, i]]
        own = [i for i in may if not np.isnan(scores[row, i]) and scores[row, i] > -np.inf]
        own = sorted(own, key=lambda i: (-scores[row, i], i))[:k]
        rest = [i for i in may if i not in own]
        if fallback is None:
            rest = []
        rest.sort(key=lambda i: (np.inf if np.isnan(fallback[i]) else -fallback[i], i))
        for place, item in enumerate([*own, *rest][:k]):
            filled = place >= len(own)
            out.items[row, place] = item
            out.scores[row, place] = fallback[item] if filled else scores[row, item]
            out.from_fallback[row, place] = filled
    return out


@st.composite
def cases(draw):
    m, n, k = draw(st.integers(0, 4)), draw(st.integers(1, 12)), draw(st.integers(1, 14))
    scores = draw(hnp.arrays(np.float32, (m, n), elements=VALUES.map(np.float32)))
    allowed = draw(hnp.arrays(bool, n))
    fallback = draw(st.none() | hnp.arrays(np.float32, n, elements=VALUES.map(np.float32)))
    return scores, k, allowed, fallback, draw(hnp.arrays(bool, (m, n)))


@given(cases())
def test_ranking_equals_sorting_row_by_row(case) -> None:
    scores, k, allowed, fallback, hide = case
    before = scores.copy()
    ranked = top_k(scores, k, allowed, fallback, sparse.csr_array(hide))
    expected = brute_force(*case)
    np.testing.assert_array_equal(ranked.items, expected.items)
    np.testing.assert_array_equal(ranked.scores, expected.scores.astype(np.float32))
    np.testing.assert_array_equal(ranked.from_fallback, expected.from_fallback)
    np.testing.assert_array_equal(scores, before)


@given(cases())
def test_ranking_does_not_depend_on_how_rows_are_cut_into_blocks(case) -> None:
    scores, k, allowed, fallback, hide = case
    whole = top_k(scores, k, allowed, fallback, sparse.csr_array(hide))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models.retrieval.full_catalogue, "_BLOCK", 1)
        in_blocks = top_k(scores, k, allowed, fallback, sparse.csr_array(hide))
    for one, other in zip(whole, in_blocks, strict=True):
        np.testing.assert_array_equal(one, other)


@given(cases())
def test_rows_that_were_ordered_before_give_the_same_lists(case) -> None:
    scores, k, allowed, fallback, hide = case
    ordered = np.sort(np.where(np.isnan(scores), np.float32(-np.inf), scores), axis=1)
    plain, quick = (top_k(scores, k, allowed, fallback, sparse.csr_array(hide), known) for known in (None, ordered))
    for one, other in zip(plain, quick, strict=True):
        np.testing.assert_array_equal(one, other)


def test_ties_go_to_the_item_that_stands_first() -> None:
    assert top_k(np.zeros((1, 1000), dtype=np.float32), 3).items.tolist() == [[0, 1, 2]]


def test_a_short_list_is_filled_with_the_most_popular_that_is_not_on_it() -> None:
    scores = np.array([[-np.inf, 1, -np.inf, 2]], dtype=np.float32)
    ranked = top_k(scores, 4, fallback=np.array([5, 9, 7, 1], dtype=np.float32))
    assert ranked.items.tolist() == [[3, 1, 2, 0]]
    assert ranked.from_fallback.tolist() == [[False, False, True, True]]
    assert ranked.scores.tolist() == [[2, 1, 7, 5]]


def test_too_few_allowed_items_leave_places_empty() -> None:
    allowed = np.array([True, False, True])
    ranked = top_k(np.ones((1, 3), dtype=np.float32), 3, allowed, np.ones(3, dtype=np.float32))
    assert ranked.items.tolist() == [[0, 2, -1]]
    assert ranked.scores[0, 2] == -np.inf


def test_a_stranger_gets_the_fallback_alone() -> None:
    ranked = top_k(np.full((1, 4), -np.inf, dtype=np.float32), 2, fallback=np.array([1, 3, 2, 0], np.float32))
    assert ranked.items.tolist() == [[1, 2]]
    assert ranked.from_fallback.all()


@pytest.mark.parametrize("hidden", [50, 1000])
def test_many_hidden_items_never_make_a_list_short(hidden: int) -> None:
    random = np.random.default_rng(0)
    hide = np.zeros((3, 1100), dtype=bool)
    hide[1, :hidden] = True
    popularity = np.arange(1100, 0, -1).astype(np.float32)
    scores = np.full((3, 1100), -np.inf, dtype=np.float32)
    scores[:, 1050:1055] = random.random((3, 5))
    ranked = top_k(scores, 20, None, popularity, sparse.csr_array(hide))
    assert (ranked.items >= 0).all()
    assert all(len(set(row)) == 20 for row in ranked.items.tolist())
    assert not hide[np.arange(3)[:, None], ranked.items].any()

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from models.retrieval.candidate_query import CandidatePairs, CandidateScope, best_by_scores, first_of_order
from tests.models.reference_ranking import top_k

M, C = 4, 9
ITEMS = np.arange(C) * 3 + 1
VALUES = st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0]).map(np.float32)
HIDDEN = hnp.arrays(bool, (M, C))


def scope(hidden: np.ndarray) -> CandidateScope:
    return CandidateScope(ITEMS, *np.nonzero(hidden))


def pairs(candidates: CandidatePairs) -> set[tuple[int, int]]:
    result = list(zip(candidates.row.tolist(), candidates.item.tolist(), strict=True))
    assert len(set(result)) == len(result)
    return set(result)


def ranked(scores: np.ndarray, hidden: np.ndarray, n: int) -> set[tuple[int, int]]:
    places = top_k(scores, n, hide=sparse.csr_array(hidden)).items
    return {(row, int(ITEMS[place])) for row, own in enumerate(places.tolist()) for place in own if place >= 0}


@given(hnp.arrays(np.float32, (M, C), elements=VALUES), HIDDEN, st.integers(1, 11), st.integers(1, 60))
def test_the_best_are_those_of_ranking_whatever_is_worked_out_at_once(
    scores: np.ndarray, hidden: np.ndarray, n: int, block: int
) -> None:
    users = np.arange(M, dtype=np.int32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.retrieval.candidate_query._BLOCK", block)
        candidates = best_by_scores(lambda some: scores[some], users, scope(hidden), n)
    assert pairs(candidates) == ranked(scores, hidden, n)


@given(hnp.arrays(np.float32, C, elements=VALUES.filter(np.isfinite)), hnp.arrays(bool, M), HIDDEN, st.integers(1, 11))
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

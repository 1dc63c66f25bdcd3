import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import models.dense_shelf
from models.dense_shelf import DenseShelf
from models.score_keys import candidates, keys

LARGEST = np.finfo(np.float32).max
SCORES = st.sampled_from(
    [-np.inf, np.nan, -LARGEST, -1.0, -1e-45, -0.0, 0.0, 1e-45, 0.5, 0.5000001, 2.0, LARGEST, np.inf]
).map(np.float32)


@st.composite
def cases(draw):
    m, n = draw(st.integers(1, 4)), draw(st.integers(1, 12))
    scores = draw(hnp.arrays(np.float32, (m, n), elements=SCORES))
    among = np.array(sorted(draw(st.sets(st.integers(0, n - 1), min_size=1))), dtype=np.int32)
    rows = np.array(draw(st.permutations(range(m)))[: draw(st.integers(0, m))], dtype=np.int64)
    return scores, among, rows, draw(st.integers(1, len(among)))


def brute_force(scores, among, n):
    may = [item for item in among.tolist() if scores[item] > -np.inf]
    best = sorted(may, key=lambda item: (-scores[item], item))[:n]
    missing = n - len(best)
    return [*best, *[-1] * missing], [*scores[best].tolist(), *[-np.inf] * missing]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(cases(), st.sampled_from([1, 10, 1000]))
def test_the_best_come_first_and_ties_in_order_of_position(case, cells) -> None:
    scores, among, rows, n = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models.dense_shelf, "_CELLS", cells)
        fetched = DenseShelf(scores).among(among).fetch(rows, n)
    assert (fetched.items.dtype, fetched.scores.dtype) == (np.int32, np.float32)
    assert fetched.items.shape == fetched.scores.shape == (len(rows), n)
    for at, row in enumerate(rows):
        items, values = brute_force(scores[row], among, n)
        assert fetched.items[at].tolist() == items
        assert fetched.scores[at].tolist() == values


def test_asking_for_more_goes_on_where_less_ended() -> None:
    scores = np.random.default_rng(0).integers(0, 50, (3, 1000)).astype(np.float32)
    source = DenseShelf(scores).among(np.arange(0, 1000, 2, dtype=np.int32))
    less, more = (source.fetch(np.array([2, 0]), n) for n in (10, 500))
    np.testing.assert_array_equal(less.items, more.items[:, :10])
    np.testing.assert_array_equal(less.scores, more.scores[:, :10])
    assert (np.sort(more.items, axis=1) == np.arange(0, 1000, 2)).all()


def test_keys_put_candidates_in_order_and_give_them_back() -> None:
    scores = np.array([2, -1, np.nan, 2, -np.inf, 7, 0, -0.0], dtype=np.float32)
    items = np.array([5, 1, 2, 4, 3, -1, 8, 7], dtype=np.int32)
    found = candidates(np.sort(keys(scores, items)))
    assert found.items.tolist() == [4, 5, 7, 8, 1, -1, -1, -1]
    assert found.scores.tolist() == [2, 2, 0, 0, -1, -np.inf, -np.inf, -np.inf]

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from models import catalog
from models.columns import USER_KEY
from models.datasets.training_data import TrainingData
from models.evaluation.offline import LISTS, evaluate
from models.lists import list_builder
from models.lists.constrained_selection import Selection
from models.lists.list_builder import ListBuilder, lists_of_scores
from models.lists.model_cascade import build_cascade
from models.lists.rules.compiled_rules import CompiledRules
from models.recommenders.baselines.most_popular import popularity
from tests.models.reference_ranking import Reference as Ranking

# Few distinct values, so that ties, silence and NaN are common.
VALUES = st.sampled_from([-np.inf, np.nan, -1.0, 0.0, 0.5, 0.5000001, 2.0, 3.0])


def top_k(scores, k, allowed=None, fallback=None, hide=None) -> Selection:
    rules = CompiledRules.plain(k, np.ones(scores.shape[1], dtype=bool) if allowed is None else allowed)
    return lists_of_scores(scores, rules, fallback, hide)


def brute_force(scores, k, allowed, fallback, hide) -> Ranking:
    """The same by sorting Python lists, row by row."""
    m, n = scores.shape
    out = Ranking(np.full((m, k), -1), np.full((m, k), -np.inf), np.zeros((m, k), dtype=bool))
    for row in range(m):
        may = [i for i in range(n) if allowed[i] and not hide[row, i]]
        own = [i for i in may if not np.isnan(scores[row, i]) and scores[row, i] > -np.inf]
        own = sorted(own, key=lambda i: (-scores[row, i], i))[:k]
        others = [i for i in may if i not in own]
        if fallback is None:
            others = []
        others.sort(key=lambda i: (np.inf if np.isnan(fallback[i]) else -fallback[i], i))
        for place, item in enumerate([*own, *others][:k]):
            filled = place >= len(own)
            out.items[row, place] = item
            score = fallback[item] if filled else scores[row, item]
            out.scores[row, place] = score if score > -np.inf else 0  # an item without any score, as it is published
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
        patch.setattr(list_builder, "USERS_AT_ONCE", 1)
        in_blocks = top_k(scores, k, allowed, fallback, sparse.csr_array(hide))
    for one, other in zip(whole, in_blocks, strict=True):
        np.testing.assert_array_equal(one, other)


@given(cases())
def test_rows_that_are_ranked_one_by_one_give_the_same_lists(case) -> None:
    scores, k, allowed, fallback, hide = case
    whole = top_k(scores, k, allowed, fallback, sparse.csr_array(hide))
    for row in range(len(scores)):
        one = top_k(scores[[row]], k, allowed, fallback, sparse.csr_array(hide[[row]]))
        for part, expected in zip(one, whole, strict=True):
            np.testing.assert_array_equal(part[0], expected[row])


@pytest.mark.parametrize("kind", ["own_frequency", "most_popular", "own_and_popular", "als", "item_knn", "two_stage"])
@pytest.mark.parametrize("new", [False, True], ids=["all items", "items new to the user"])
def test_offline_evaluation_and_batch_scoring_build_the_same_lists(data: TrainingData, kind: str, new: bool) -> None:
    model = catalog.model_type(kind).fit(data, catalog.config(kind), 0)
    fallback, rules = popularity(data), CompiledRules.unrestricted(20, len(data.items))
    hidden = data.history() if new else None
    evaluated = lists_of_scores(model.scores(np.arange(len(data.users), dtype=np.int32)), rules, fallback, hidden)
    builder = ListBuilder(build_cascade(model, None, fallback), fallback, rules)
    result = 0
    for lists in builder.build(data.users, hidden):
        result += len(lists.rows)
        np.testing.assert_array_equal(lists.items, evaluated.items[lists.rows])
        np.testing.assert_array_equal(lists.from_fallback, evaluated.from_fallback[lists.rows])
        np.testing.assert_allclose(lists.scores, evaluated.scores[lists.rows], rtol=1e-4)
    assert result == len(data.users)


@pytest.mark.parametrize("kind", ["own_frequency", "als", "two_stage"])
def test_an_evaluation_shows_the_lists_that_users_would_get(data: TrainingData, kind: str) -> None:
    model, fallback = catalog.model_type(kind).fit(data, catalog.config(kind), 0), popularity(data)
    shown = evaluate(model, data, data.history(), fallback).per_user.select([USER_KEY, LISTS]).to_pylist()
    builder = ListBuilder(
        build_cascade(model, None, fallback), fallback, CompiledRules.unrestricted(1, len(data.items))
    )
    served = builder.top_lists(np.array([row[USER_KEY] for row in shown]), 10)
    assert [row[LISTS] for row in shown] == [made.items for made in served]


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

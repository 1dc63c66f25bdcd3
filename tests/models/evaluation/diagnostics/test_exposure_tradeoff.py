import numpy as np
from scipy import sparse

from models.evaluation.diagnostics.exposure_tradeoff import PENALTIES, rerank
from models.evaluation.metrics.beyond_accuracy import ItemNovelty

USERS, ITEMS = 200, 60


def shop() -> tuple[np.ndarray, sparse.csr_array, ItemNovelty]:
    """Return candidates that begin with the same ten items, which half of the users buy, then rarer ones."""
    random = np.random.default_rng(0)
    rare = np.array([random.permutation(np.arange(10, ITEMS))[:20] for _ in range(USERS)])
    candidates = np.hstack([np.tile(np.arange(10), (USERS, 1)), rare]).astype(np.int32)
    bought = np.zeros((USERS, ITEMS), dtype=bool)
    bought[: USERS // 2, 0] = True
    bought[np.arange(USERS), rare[:, 5]] = True
    tail = np.arange(ITEMS) >= 10
    catalogue = ItemNovelty(np.ones(ITEMS), np.zeros((ITEMS, 1), dtype=np.int64), tail)
    return candidates, sparse.csr_array(bought), catalogue


def test_a_larger_penalty_shows_more_items_more_evenly_and_rarer_ones() -> None:
    result = rerank(*shop()[:1], 10, *shop()[1:])
    assert [lists.penalty for lists in result] == list(PENALTIES)
    first, last = result[0], result[-1]
    assert first.coverage_at_10 == 10 / ITEMS
    assert (last.coverage_at_10, last.long_tail_at_10) == (50 / ITEMS, 1.0)
    assert last.gini_at_10 < first.gini_at_10


def test_the_accuracy_is_that_of_the_lists_after_re_ranking() -> None:
    candidates, bought, catalogue = shop()
    first, *_, last = rerank(candidates, 10, bought, catalogue)
    assert first.ndcg_at_10 == np.mean([1 / (1 + 1 / np.log2(3))] * 100 + [0.0] * 100)
    assert 0 < last.ndcg_at_10 < 0.5


def test_lists_with_empty_places_are_re_ranked_too() -> None:
    candidates, bought, catalogue = shop()
    candidates[:, 15:] = -1
    candidates[0] = -1
    assert np.isfinite(rerank(candidates, 10, bought, catalogue)[-1]).all()

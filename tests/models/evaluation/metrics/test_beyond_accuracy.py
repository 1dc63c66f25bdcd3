from itertools import combinations

import numpy as np
import pytest
from scipy import sparse

from models.evaluation.metrics.beyond_accuracy import PENALTIES, ItemNovelty, concentration, rerank, spread

DAY = 86_400
PATHS = ["FOOD|MILK|WHOLE", "FOOD|MILK", "FOOD|BREAD", "TOYS", ""]


@pytest.fixture
def catalogue(small) -> ItemNovelty:
    rows = [("a", "i0", 1, "1"), ("a", "i0", 2, "2"), ("a", "i1", 1, "1"), ("b", "i0", 1, "3"), ("c", "i2", 1, "4")]
    rows += [("d", "i3", 1, "5"), ("d", "i4", 1, "5")]
    return ItemNovelty.of(small(rows, {f"i{n}": path for n, path in enumerate(PATHS)}))


def test_an_item_is_as_new_as_few_users_had_it(catalogue: ItemNovelty) -> None:
    values = catalogue.variety(np.array([[0, 1, -1], [0, -1, -1], [-1, -1, -1]], dtype=np.int32))["novelty"]
    # Two of four users had the first item, however often, and one the second: 1 bit and 2 bits.
    np.testing.assert_allclose(values, [1.5, 1, np.nan])


def test_the_long_tail_is_what_few_users_had() -> None:
    tail = ItemNovelty(np.zeros(5), np.zeros((5, 0), dtype=np.int64), np.array([False, True, True, True, True]))
    values = tail.variety(np.array([[0, 1], [0, -1], [1, 2], [-1, -1]], dtype=np.int32))["long_tail"]
    np.testing.assert_allclose(values, [0.5, 0, 1, np.nan])


def test_a_fifth_of_the_catalogue_is_its_head(catalogue: ItemNovelty) -> None:
    assert catalogue.tail.tolist() == [False, True, True, True, True]


def test_of_items_without_categories_diversity_is_not_known(small) -> None:
    bare = ItemNovelty.of(small([("a", item, 1, "1") for item in "xyz"]))
    assert np.isnan(bare.variety(np.array([[0, 1, 2]], dtype=np.int32))["diversity"]).all()


def naive_diversity(ranked: list[int]) -> float:
    """Compute the definition once more, pair by pair."""

    def apart(one: str, other: str) -> float:
        a, b = (path.split("|") if path else [] for path in (one, other))
        shared = sum(a[: level + 1] == b[: level + 1] for level in range(min(len(a), len(b))))
        return 1 - shared / max(len(a), len(b), 1)

    pairs = list(combinations([PATHS[item] for item in ranked if item >= 0 and PATHS[item]], 2))
    return sum(apart(*pair) for pair in pairs) / len(pairs) if pairs else np.nan


def test_diversity_equals_its_definition_in_loops(catalogue: ItemNovelty) -> None:
    random = np.random.default_rng(0)
    ranked = np.array([random.permutation(5)[:4] for _ in range(50)], dtype=np.int32)
    ranked[random.random(ranked.shape) < 0.2] = -1
    values = catalogue.variety(ranked)["diversity"]
    np.testing.assert_allclose(values, [naive_diversity(row) for row in ranked.tolist()])


def test_gini_is_nothing_when_all_are_shown_alike_and_nearly_one_when_one_takes_all() -> None:
    assert concentration(np.array([[3.0, 3, 3]]), 3)[0] == pytest.approx(0)
    assert concentration(np.array([[7.0]]), 100)[0] == pytest.approx(0.99)
    assert np.isnan(concentration(np.array([[0.0]]), 100)[0])


def test_gini_equals_half_the_relative_mean_difference_of_all_pairs() -> None:
    counts = np.random.default_rng(0).integers(0, 9, 12).astype(float)
    every = np.append(counts, np.zeros(8))
    expected = np.abs(every[:, None] - every).mean() / (2 * every.mean())
    assert concentration(counts[None], 20)[0] == pytest.approx(expected)


def test_coverage_and_gini_are_of_the_whole_catalogue() -> None:
    values = spread(np.array([[0, 1], [0, -1], [0, 2]], dtype=np.int32), 6, seed=0)
    assert values["coverage"].value == 3 / 6
    assert values["gini"].value == pytest.approx(concentration(np.array([[3.0, 1, 1, 0, 0, 0]]), 6)[0])
    assert all(figure.low < figure.value < figure.high for figure in values.values())


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

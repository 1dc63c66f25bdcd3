"""Own items gain by when and how often they were bought."""

import numpy as np
import pytest

from models.recommenders.sequence.histories import GAPS, Ordered
from models.recommenders.sequence.repeats import DUE, Bonuses, OwnItems, Repeats

ROWS = [("a", "x", 40, "1"), ("a", "x", 90, "2"), ("a", "y", 98, "3"), ("b", "z", 99, "4")]


def own_items(data) -> OwnItems:
    return OwnItems.of(Ordered.of(data), np.full(len(data.users), data.cut), len(data.items))


def test_own_items_are_counted_with_the_ages_of_their_purchases(small) -> None:
    data = small(ROWS)
    own = own_items(data)
    assert list(zip(data.users[own.user], data.items[own.item], strict=True)) == [("a", "x"), ("a", "y"), ("b", "z")]
    assert own.entry.tolist() == [0, 0, 1, 2]
    assert own.age[0] > own.age[1] > own.age[2]
    assert own.due.tolist() == [DUE // 2 - 3, 0, 0]  # 10 days after the last one, and usually 50


def test_a_moment_hides_later_purchases(small) -> None:
    data = small(ROWS)
    early = OwnItems.of(Ordered.of(data), np.full(2, data.cut - 50 * 86_400), 3)
    assert early.item.tolist() == [0]


def test_the_rate_of_an_own_item_is_part_of_the_network_s_and_what_its_purchases_add(small) -> None:
    data = small(ROWS)
    repeats = Repeats(0.5, np.full(GAPS, 2.0), np.full(DUE, 3.0), 2.0)
    bonuses = Bonuses(repeats.bonuses(own_items(data), (2, 3)), repeats)
    users, ones = np.arange(2, dtype=np.int32), np.ones((2, 3), dtype=np.float32)
    expected = 2 * np.log(0.5 * np.exp(0.5) + np.array([12, 6]))
    np.testing.assert_allclose(bonuses.added(users, ones.copy())[0, :2], expected, rtol=1e-6)
    none = Repeats.none()
    untouched = Bonuses(none.bonuses(own_items(data), (2, 3)), none).added(users, ones.copy())
    np.testing.assert_array_equal(untouched, ones)


def test_a_score_that_is_no_number_stays_none() -> None:
    repeats = Repeats(0.5, np.full(GAPS, 2.0), np.full(DUE, 3.0), 2.0)
    scores = np.array([-np.inf, np.nan], dtype=np.float32)
    np.testing.assert_array_equal(repeats.joined(scores, np.ones(2, dtype=np.float32)), scores)


def test_bonuses_are_the_same_for_rows_and_pairs_and_some_items(small) -> None:
    repeats = Repeats(0.5, np.arange(1.0, GAPS + 1), np.ones(DUE), 1.0)
    bonuses = Bonuses(repeats.bonuses(own_items(small(ROWS)), (2, 3)), repeats)
    users = np.array([1, -1, 0], dtype=np.int32)
    rows = bonuses.added(users, np.ones((3, 3), dtype=np.float32))
    assert (rows[1] == 1).all()
    pairs = np.repeat(np.arange(3), 3), np.tile(np.arange(3), 3)
    np.testing.assert_array_equal(bonuses.added_to_pairs(users, *pairs, np.ones(9, dtype=np.float32)), rows.ravel())
    scoped = bonuses.added(users, np.ones((3, 1), dtype=np.float32), np.array([-1, 0, -1]))
    np.testing.assert_array_equal(scoped[:, 0], rows[:, 1])


def test_repeat_purchases_are_learned_from_held_out_purchases() -> None:
    torch = pytest.importorskip("torch")
    from models.recommenders.sequence.training.validation import FACTORS, Baskets, learned_repeats

    users, items = 40, 10
    own = OwnItems(*(np.arange(users), np.zeros(users, int), np.zeros(users, int), np.arange(users)), np.full(users, 5))
    scores, norms = torch.zeros(users, dtype=torch.float64), torch.full((len(FACTORS), users), np.log(items))
    again = Baskets(own, scores, np.arange(users), np.arange(users), scores, norms.double())
    new = Baskets(own, scores, np.arange(users), np.full(users, -1), scores, norms.double())
    likely, unlikely = (learned_repeats(baskets) for baskets in (again, new))
    assert all(np.isfinite(values).all() for values in (*likely.state().values(), *unlikely.state().values()))
    assert likely.least + likely.ages[5] * likely.due[0] > 10
    assert unlikely.least + unlikely.ages[5] * unlikely.due[0] < 0.2

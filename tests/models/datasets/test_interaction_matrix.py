import numpy as np
import pytest

from models.datasets.training_data import profiles, rows


def test_a_profile_is_halved_by_age_which_begins_with_the_users_latest(small) -> None:
    own = profiles(small([("a", "x", 90, "1"), ("a", "y", 80, "2"), ("b", "x", -9000, "3")]), half_life_days=10)
    np.testing.assert_allclose(own.toarray(), [[1, 0.5], [1, 0]])


def test_baskets_with_the_same_item_add_up(small) -> None:
    own = profiles(small([("a", "x", 90, "1"), ("a", "x", 80, "2")]), half_life_days=10)
    assert own.toarray() == pytest.approx(np.array([[1.5]]))


def test_strangers_have_no_profile(small) -> None:
    own = profiles(small([("a", "x", 1, "1"), ("b", "y", 1, "2")]), 10)
    assert rows(own, np.array([-1, 1, 0], np.int32)).toarray().tolist() == [[0, 0], [0, 1], [1, 0]]
    assert rows(own, np.array([-1], np.int32)).nnz == 0

import numpy as np
import pyarrow as pa
import pytest

from models.features.tables.registry import TABLES
from models.monitoring.drift.dataset_distance import STATIONARY_FEATURES, distance, shift

RANDOM = np.random.default_rng(3)
THEN = RANDOM.normal(size=20_000)


def test_an_unchanged_column_has_not_moved() -> None:
    assert distance(THEN, THEN) == 0
    assert distance(THEN, RANDOM.normal(size=20_000)) < 0.02


def test_values_that_were_never_there_have_moved_as_far_as_can_be() -> None:
    assert distance(THEN[THEN < 0], THEN[THEN > 0] + 1) == pytest.approx(0.9)  # the last tenth has no upper end


def test_a_tenth_of_the_users_elsewhere_is_a_tenth() -> None:
    moved = np.where(RANDOM.random(20_000) < 0.1, 100.0, THEN)
    assert distance(THEN, moved) == pytest.approx(0.09, abs=0.01)


def test_values_that_are_not_known_any_more_have_moved() -> None:
    assert distance(THEN, np.full(10, np.nan)) == 1
    assert distance(np.full(10, np.nan), np.full(5, np.nan)) == 0


def test_values_that_are_all_alike_are_compared_too() -> None:
    assert distance(np.ones(10), np.ones(5)) == 0
    assert distance(np.ones(10), np.zeros(5)) == 1


def test_users_have_moved_by_the_mean_of_their_steady_features() -> None:
    then = pa.table(dict.fromkeys(STATIONARY_FEATURES, THEN))
    one_moved = then.set_column(0, STATIONARY_FEATURES[0], pa.array(THEN + 100))
    assert shift(then, one_moved) == pytest.approx(0.9 / len(STATIONARY_FEATURES))
    assert set(STATIONARY_FEATURES) <= {feature.name for feature in TABLES["user_features"].features}

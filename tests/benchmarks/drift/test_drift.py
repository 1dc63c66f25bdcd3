from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.drift import base_shop
from benchmarks.drift.base_shop import Shop
from benchmarks.drift.scorecard import MISSED, delay, detection
from benchmarks.drift.shifts import LARGER, SHIFTS, WINDOWS
from benchmarks.drift.streams import Stream
from benchmarks.shop.simulation import Plan
from models.monitoring.drift.signals.event_columns import BOUGHT, CLICKED, DAY, SHOWN, Events

KNOWN = 28
DAY_OF_SHIFT = KNOWN + 7


@pytest.fixture(scope="module")
def shop() -> Shop:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base_shop, "_PLAN", Plan(purchases=60_000, trails=1.0, views=70_000, sessions=22_000))
        return Shop.made(3)


@pytest.fixture(scope="module")
def shifted(shop: Shop) -> Callable[[str], tuple[Events, Events]]:
    """Return a day before and after a shift."""
    stream = Stream(shop, 1, KNOWN)
    plain = stream.day(DAY_OF_SHIFT)
    return lambda name: (plain, stream.day(DAY_OF_SHIFT, SHIFTS[name], DAY_OF_SHIFT))


def test_days_of_a_stream_are_those_of_their_weekday_and_do_not_drift(shop: Shop) -> None:
    stream = Stream(shop, 1, KNOWN)
    counts = np.array([len(stream.day(number).at) for number in range(112)]).reshape(16, 7)
    assert np.ptp(counts.mean(axis=0)) > 5 * np.std(counts, axis=0).mean() / 4  # weekdays differ
    early, late = counts[:8].mean(axis=0), counts[8:].mean(axis=0)
    assert np.abs(early / late - 1).max() < 0.1
    for number in (0, 30):
        day = stream.day(number)
        assert set(day.at // DAY) == {shop.first_day + number}
        assert (np.diff(day.at) >= 0).all()


def test_a_day_is_the_same_whenever_it_is_asked_for(shop: Shop) -> None:
    first, again, other = (Stream(shop, seed, KNOWN).day(5) for seed in (1, 1, 2))
    assert all(np.array_equal(*columns, equal_nan=True) for columns in zip(first, again, strict=True))
    assert len(first.at) != len(other.at)


def test_shifts_change_what_their_names_state(shifted: Callable[[str], tuple[Events, Events]]) -> None:
    plain, moved = shifted("popularity_reshuffled_100")
    assert np.mean(plain.item == moved.item) < 0.01
    assert len(np.unique(plain.item)) == len(np.unique(moved.item))  # as uneven as before
    for share in (10, 20, 40):
        plain, moved = shifted(f"new_items_{share}")
        new = moved.item != plain.item
        assert new.mean() == pytest.approx(share / 100, abs=0.05)
        assert not np.isin(moved.item[new], plain.item).any()
    for share in (1, 5):
        _, moved = shifted(f"nulls_{share}")
        assert np.isnan(moved.value[moved.kind == BOUGHT]).mean() == pytest.approx(share / 100, abs=0.02)
    plain, moved = shifted("unit_times_100")
    assert np.allclose(moved.value, 100 * plain.value, equal_nan=True)


def test_fewer_clicks_are_made_on_as_many_lists(shifted: Callable[[str], tuple[Events, Events]]) -> None:
    plain, moved = shifted("clicks_minus_20")
    clicks, shown = (np.array([(day.kind == kind).sum() for day in (plain, moved)]) for kind in (CLICKED, SHOWN))
    assert shown[0] == shown[1]
    assert clicks[1] / clicks[0] == pytest.approx(0.8, abs=0.1)


def test_twice_as_many_cold_users_come(shop: Shop) -> None:
    stream, cut = Stream(shop, 1, KNOWN), (shop.first_day + KNOWN) * DAY
    times = []
    for number in range(DAY_OF_SHIFT, DAY_OF_SHIFT + 14):
        days = stream.day(number), stream.day(number, SHIFTS["cold_users_doubled"], DAY_OF_SHIFT)
        times.append([[_users(day, day.user_since >= cut), _users(day, day.user_since < cut)] for day in days])
    plain, moved = np.sum(times, axis=0)
    assert moved[0] / plain[0] == pytest.approx(2, abs=0.2)
    assert moved[1] == plain[1]


def _users(day: Events, mask: np.ndarray) -> int:
    return len(np.unique(day.user[mask]))


def test_delays_count_from_the_first_window() -> None:
    never, first, third = (np.zeros(WINDOWS, dtype=np.bool_) for _ in range(3))
    first[0] = third[2:] = True
    assert [delay(one) for one in (never, first, third)] == [MISSED, 1, 3]
    result = detection([first, third, never])
    assert (result.power, result.delay) == (pytest.approx(2 / 3), 3)
    assert detection([first, never, never]).delay == MISSED


def test_every_larger_grade_is_a_shift() -> None:
    assert set(LARGER) <= set(SHIFTS)

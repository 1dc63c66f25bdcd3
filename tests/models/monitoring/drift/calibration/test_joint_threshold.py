import numpy as np

from models.monitoring.drift.calibration.bands import LOOKBACKS, fit, joint_threshold, request_windows, residuals
from models.monitoring.drift.signals.signal_table import NAMES

N = len(NAMES)


def requested(*remaining: int) -> list[int]:
    return np.flatnonzero(request_windows(np.array(remaining, dtype=bool))).tolist()


def test_two_of_five_windows_and_the_latest_ask() -> None:
    assert requested(1, 0, 0, 0, 1) == [4]
    assert requested(1, 0, 0, 0, 0, 1) == []
    assert requested(1, 1, 0) == [1]
    assert requested(0, 0, 1) == []


def test_windows_that_led_to_a_request_count_for_no_other() -> None:
    assert requested(1, 1, 1, 0, 1) == [1, 4]
    assert requested(1, 1, 1, 1) == [1, 3]


def test_the_limit_asks_about_as_rarely_as_was_chosen() -> None:
    random = np.random.default_rng(5)
    table = random.normal(size=(60, 1, N))
    bands, errors = fit(table, [0] * 60)
    draws = np.nan_to_num(errors)[np.isfinite(errors).all(axis=1)]
    draws = np.concatenate([draws + 0.0, random.normal(size=(4_000, N))])
    high, often = joint_threshold(draws, bands, np.full(N, 0.01), 60, 91, 7)
    fresh = np.abs(random.normal(size=(200_000, N))).max(axis=1)
    assert 0.01 < (fresh > high).mean() < 0.08
    assert 91 < 200_000 / request_windows(fresh > high).sum() < 400
    assert 0.01 < often < 0.08


def test_a_signal_that_hardly_ever_stirs_does_not_make_the_limit_endless() -> None:
    random = np.random.default_rng(5)
    table = random.normal(size=(60, 1, N))
    bands, _ = fit(table, [0] * 60)
    draws = random.normal(size=(4_000, N))
    draws[:, 0] = np.where(random.random(4_000) < 0.02, 5.0, 0.0)
    assert joint_threshold(draws, bands, np.full(N, 0.5), 60, 91, 7)[0] < 12


def test_between_two_ages_that_were_learned_lies_what_is_between() -> None:
    table = np.random.default_rng(5).normal(size=(60, 3, 2)) + np.array([0.0, 10.0, 30.0])[None, :, None]
    bands, _ = fit(table, [0] * 60, [0, 2, 6])
    levels = [bands.of(0, age)[0] for age in (0, 1, 2, 4, 6, 50)]
    assert np.allclose(levels[1], (levels[0] + levels[2]) / 2)
    assert np.allclose(levels[3], (levels[2] + levels[4]) / 2)
    assert np.array_equal(levels[4], levels[5])
    assert np.array_equal(bands.of(0, 2)[1], bands.scale[1])


def test_the_level_is_made_of_as_many_windows_as_foretell_the_next_best() -> None:
    random = np.random.default_rng(5)
    stationary = random.normal(size=60)
    walking = np.cumsum(random.normal(size=60)) * 3 + stationary * 0.01
    bands, _ = fit(np.stack([stationary, walking], axis=1)[:, None, :], [0] * 60)
    assert bands.lookbacks[0] >= 16
    assert bands.lookbacks[1] == LOOKBACKS[0]


def test_changes_on_some_weekdays_only_are_usual() -> None:
    random = np.random.default_rng(5)
    weekday = np.arange(84) % 7
    launches = np.abs(random.normal(size=84)) * 0.0001 + (weekday > 4) * (random.random(84) < 0.5) * 0.05
    bands, _ = fit(launches[:, None, None], weekday.tolist())
    assert bands.scale[0, 0] > 0.01


def test_windows_are_foretold_by_those_of_the_same_weekday() -> None:
    weekday = [n % 7 for n in range(70)]
    busy = np.array([5.0 if day == 5 else 1.0 for day in weekday])[:, None, None]
    errors = residuals(busy, weekday, 4)
    assert np.nanmax(np.abs(errors)) == 0
    assert np.isnan(errors[:14]).all()
    assert np.isfinite(errors[14:]).all()


def test_a_holiday_does_not_make_everything_look_usual() -> None:
    random = np.random.default_rng(5)
    table = random.normal(size=(60, 1, 1))
    plain = fit(table, [0] * 60)[0].scale[0, 0]
    table[30] = 100
    assert fit(table, [0] * 60)[0].scale[0, 0] < 3 * plain

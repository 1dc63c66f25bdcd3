import json
from collections.abc import Callable

import numpy as np
import pytest

from models.monitoring.drift.calibration.bands import (
    LOOKBACKS,
    Calibration,
    TooLittleHistoryError,
    calibrate,
    fit,
    joint_threshold,
    request_windows,
    residuals,
)
from models.monitoring.drift.calibration.windows import History
from models.monitoring.drift.feed_health import FeedCheck, check_feed
from models.monitoring.drift.signals.event_columns import DAY, KIND, MISSING_CODE, Events, gaps
from models.monitoring.drift.signals.signal_table import NAMES, SIGNALS, values
from models.monitoring.drift.signals.user_counts import Sums
from models.monitoring.drift.window_verdict import WindowJudgement, judge
from tests.models.monitoring.drift.shop import ITEMS, START, USERS, goods, history, make_events

CUT, WEEKS = 44, 104
N = len(NAMES)
QUARTER = 14


@pytest.fixture(scope="module")
def events() -> Events:
    return make_events(WEEKS)


@pytest.fixture(scope="module")
def usual(events: Events) -> tuple[History, Calibration]:
    weeks = history(events, CUT)
    return weeks, calibrate(weeks, 91, 7)


def changed(events: Events, change: Callable[[Events, np.ndarray], Events]) -> Events:
    """Return the same shop with a change after the cut."""
    return change(events, events.at >= START + CUT * 7 * DAY)


def judged(usual: tuple[History, Calibration], events: Events, window: int = CUT) -> WindowJudgement:
    return judge(usual[1], usual[0].followed_by(events), window)


def checked(usual: tuple[History, Calibration], events: Events, window: int = CUT) -> dict[str, FeedCheck]:
    weeks = usual[0].followed_by(events)
    before = np.stack([usual[0].sums(j, j).values for j in weeks.reference(CUT)])
    checks = check_feed(weeks.sums(window, window).values, before, (7, 7))
    return {check.check: check for check in checks}


def test_windows_like_those_before_rarely_leave_their_band(usual: tuple[History, Calibration], events: Events) -> None:
    remaining = np.array([judged(usual, events, window).exceeds for window in range(CUT, WEEKS)])
    assert remaining.mean() < 0.12
    assert request_windows(remaining).sum() <= 2
    assert 2 < usual[1].threshold < 5
    assert 0.005 < usual[1].false_alarms < 0.1
    assert all(check.passed for check in checked(usual, events).values())


def test_a_calibration_is_the_same_after_json_and_with_the_same_seed(usual: tuple[History, Calibration]) -> None:
    weeks, made = usual
    again = Calibration.from_dict(json.loads(json.dumps(made.as_dict(), allow_nan=False)))
    assert again.as_dict() == made.as_dict()
    assert judge(again, weeks, CUT).joint == judge(made, weeks, CUT).joint
    assert calibrate(weeks, 91, 7).threshold == made.threshold


def test_fewer_false_requests_need_wider_bands(usual: tuple[History, Calibration]) -> None:
    assert calibrate(usual[0], 13, 7).threshold < usual[1].threshold < calibrate(usual[0], 400, 7).threshold


@pytest.mark.parametrize(
    ("change", "driver"),
    [
        (lambda e, late: e._replace(item=np.where(late, ITEMS - 1 - e.item, e.item)), "popularity"),
        (lambda e, late: e._replace(value=np.where(late, e.value * 2, e.value)), "basket value"),
        (lambda e, late: e._replace(at=np.where(late, e.at // DAY * DAY + 19 * 3_600, e.at)), "evening share"),
        (lambda e, late: e._replace(item=np.where(late, e.item - e.item % 4 + e.item % 2, e.item)), "taste"),
        (lambda e, late: e._replace(item_since=np.where(late & (e.item % 5 == 0), e.at, e.item_since)), "new items"),
        (lambda e, late: e._replace(user_since=np.where(late & (e.user % 10 == 0), e.at, e.user_since)), "new users"),
        (lambda e, late: e._replace(kind=np.where(late & (e.user % 3 == 0), KIND["view"], e.kind)), "conversion"),
    ],
)
def test_a_changed_signal_leaves_its_band_and_is_named(
    usual: tuple[History, Calibration], events: Events, change: Callable[[Events, np.ndarray], Events], driver: str
) -> None:
    seen = judged(usual, changed(events, change))
    assert seen.exceeds
    assert driver in seen.drivers
    band = next(one for one in seen.readings if one.signal == driver)
    assert band.value is not None
    assert (band.low is not None and band.value < band.low) or (band.high is not None and band.value > band.high)


def test_a_signal_of_which_nothing_is_known_drives_nothing(usual: tuple[History, Calibration], events: Events) -> None:
    shown = changed(events, lambda e, late: e._replace(kind=np.where(late & (e.user < 50), KIND["impression"], e.kind)))
    seen = judged(usual, shown)
    assert not next(one for one in seen.readings if one.signal == "click-through").counted
    assert "click-through" not in seen.drivers


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (lambda e, late: e._replace(value=np.where(late, np.nan, e.value)), "nulls: value"),
        (lambda e, late: e._replace(value=np.where(late & (e.user % 50 == 0), np.nan, e.value)), "nulls: value"),
        (lambda e, late: e._replace(value=np.where(late, e.value * 100, e.value)), "odd prices"),
        (lambda e, late: e._replace(currency=e.currency & ~late), "nulls: currency"),
        (lambda e, late: e._replace(kind=np.where(late, KIND["purchase"], e.kind)), "type: view"),
        (lambda e, late: e.such(~late | (e.user % 10 == 0)), "volume"),
        (lambda e, late: e.such(~late | (e.user < 0)), "volume"),
    ],
)
def test_a_broken_feed_is_named_by_the_check_that_it_fails(
    usual: tuple[History, Calibration], events: Events, change: Callable[[Events, np.ndarray], Events], check: str
) -> None:
    checks = checked(usual, changed(events, change))
    assert not checks[check].passed
    assert checks[check].detail


def test_too_little_history_is_refused_with_how_much_there_is() -> None:
    with pytest.raises(TooLittleHistoryError, match="There are 12 windows of 7 days"):
        calibrate(history(make_events(20), 20), 91, 7)


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


@pytest.fixture(scope="module")
def quarter() -> Events:
    return make_events(QUARTER)


def test_windows_hold_the_events_of_their_days(quarter: Events) -> None:
    weeks = history(quarter, 10)
    for window in (0, 5, QUARTER - 1):
        begin, end = weeks.span(window)
        assert (begin, end) == (START + window * 7 * DAY, START + (window + 1) * 7 * DAY)
        at = weeks.cut_out(window).at
        assert len(at) == USERS * 6
        assert (at >= begin).all()
        assert (at < end).all()


def test_the_day_in_which_the_training_data_end_belongs_to_no_window_and_is_no_news(quarter: Events) -> None:
    monday, tuesday = START + 10 * 7 * DAY, START + 10 * 7 * DAY + DAY
    weeks = History(quarter, goods(), START, 7, 10, USERS, skipped_days=1)
    assert [weeks.span(window) for window in (9, 10)] == [(monday - 7 * DAY, monday), (tuesday, tuesday + 7 * DAY)]
    assert [weeks.age(window) for window in (10, 13)] == [1 / 7, 3 + 1 / 7]
    users = np.unique(weeks.cut_out(10).user)
    since = [np.where(quarter.user < 30, moment, quarter.user_since) for moment in (monday, monday - 1)]
    new = [History(quarter._replace(user_since=one), goods(), START, 7, 10, USERS, skipped_days=1) for one in since]
    assert [weeks.sums(10, 10)["new users"] for weeks in new] == [(users < 30).sum(), 0]


def test_sums_are_those_of_the_users_one_by_one(quarter: Events) -> None:
    weeks = history(quarter, 10)
    counted = weeks.counted(9)
    own = quarter.between(*weeks.span(9))
    assert np.array_equal(weeks.sums(9, 9).values, counted.values.sum(axis=0))
    sums = Sums(counted.values)
    for row in (0, 17, 200):
        user = own.such(own.user == counted.users[row])
        assert sums["interactions"][row] == len(user.at)
        assert sums["buyers"][row] == float((user.kind == KIND["purchase"]).any())
        assert sums["types"][row].sum() == len(user.at)
        assert sums["events"][row].sum() == sums["users"][row] == 1


def test_each_tenth_of_popularity_has_a_tenth_of_the_interactions_as_far_as_single_items_allow(quarter: Events) -> None:
    usual = history(quarter, 10).usual(10)["popularity"]
    assert usual.sum() == 4 * USERS * 6
    assert usual.max() < 0.3 * usual.sum()  # the first item alone has a quarter


def test_items_and_users_are_new_that_came_after_the_champion_has_learned(quarter: Events) -> None:
    late = START + 11 * 7 * DAY
    some, others = quarter.user < 30, quarter.item == 3
    moved = quarter._replace(
        user_since=np.where(some, late, quarter.user_since), item_since=np.where(others, late, quarter.item_since)
    )
    sums = history(moved, 10).sums(12, 10)
    own = moved.between(START + 12 * 7 * DAY, START + 13 * 7 * DAY)
    assert sums["new users"] == 30
    assert sums["new items"] == (own.item == 3).sum()
    before = history(moved, 12).sums(12, 12)  # a champion that has learned since then knows them
    assert (before["new users"], before["new items"]) == (0, 0)


def test_the_same_window_drawn_once_is_the_window(quarter: Events) -> None:
    weeks = history(quarter, 10)
    counted, usual = weeks.counted(9).values, weeks.usual(9)
    once = values(Sums(np.ones((1, len(counted))) @ counted), usual)[0]
    assert np.allclose(once, values(weeks.sums(9, 9), usual), equal_nan=True)
    assert len(once) == len(SIGNALS) == len(set(NAMES))


def test_a_gap_is_the_days_since_the_user_turned_to_the_item_on_another_day() -> None:
    day = np.array([0, 0, 3, 3, 10, 4])
    user, item = np.array([1, 1, 1, 1, 1, 2]), np.array([5, 5, 5, 6, 5, 5])
    kind = np.full(6, KIND["view"])
    quarter = gaps(user, item, day * DAY + np.arange(6), kind)
    assert quarter.tolist() == [MISSING_CODE, MISSING_CODE, 3, MISSING_CODE, 7, MISSING_CODE]
    kind[2] = KIND["impression"]
    assert gaps(user, item, day * DAY, kind).tolist() == [*[MISSING_CODE] * 4, 10, MISSING_CODE]

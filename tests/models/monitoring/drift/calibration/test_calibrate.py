import json
from collections.abc import Callable

import numpy as np
import pytest

from models.monitoring.drift.calibration.bands import request_windows
from models.monitoring.drift.calibration.calibrate import Calibration, TooLittleHistoryError, calibrate
from models.monitoring.drift.calibration.windows import History
from models.monitoring.drift.feed_health import FeedCheck, check_feed
from models.monitoring.drift.signals.event_columns import DAY, KIND, Events
from models.monitoring.drift.window_verdict import WindowJudgement, judge
from tests.models.monitoring.drift.shop import ITEMS, START, history, make_events

CUT, WEEKS = 44, 104


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


def reshuffled(events: Events, late: np.ndarray) -> Events:
    return events._replace(item=np.where(late, ITEMS - 1 - events.item, events.item))


def more_expensive(events: Events, late: np.ndarray) -> Events:
    return events._replace(value=np.where(late, events.value * 2, events.value))


def at_night(events: Events, late: np.ndarray) -> Events:
    return events._replace(at=np.where(late, events.at // DAY * DAY + 19 * 3_600, events.at))


def in_two_categories(events: Events, late: np.ndarray) -> Events:
    return events._replace(item=np.where(late, events.item - events.item % 4 + events.item % 2, events.item))


def unknown_items(events: Events, late: np.ndarray) -> Events:
    return events._replace(item_since=np.where(late & (events.item % 5 == 0), events.at, events.item_since))


def strangers(events: Events, late: np.ndarray) -> Events:
    return events._replace(user_since=np.where(late & (events.user % 10 == 0), events.at, events.user_since))


def lookers(events: Events, late: np.ndarray) -> Events:
    return events._replace(kind=np.where(late & (events.user % 3 == 0), KIND["view"], events.kind))


@pytest.mark.parametrize(
    ("change", "driver"),
    [
        (reshuffled, "popularity"),
        (more_expensive, "basket value"),
        (at_night, "evening share"),
        (in_two_categories, "taste"),
        (unknown_items, "new items"),
        (strangers, "new users"),
        (lookers, "conversion"),
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

import numpy as np
import pytest

from models.monitoring.drift.calibration.windows import History
from models.monitoring.drift.signals.event_columns import DAY, KIND, MISSING_CODE, Events, gaps
from models.monitoring.drift.signals.signal_table import NAMES, SIGNALS, values
from models.monitoring.drift.signals.user_counts import Sums
from tests.models.monitoring.drift.shop import START, USERS, goods, history, make_events

WEEKS = 14


@pytest.fixture(scope="module")
def events() -> Events:
    return make_events(WEEKS)


def test_windows_hold_the_events_of_their_days(events: Events) -> None:
    weeks = history(events, 10)
    for window in (0, 5, WEEKS - 1):
        begin, end = weeks.span(window)
        assert (begin, end) == (START + window * 7 * DAY, START + (window + 1) * 7 * DAY)
        at = weeks.cut_out(window).at
        assert len(at) == USERS * 6
        assert (at >= begin).all()
        assert (at < end).all()


def test_the_day_in_which_the_training_data_end_belongs_to_no_window_and_is_no_news(events: Events) -> None:
    monday, tuesday = START + 10 * 7 * DAY, START + 10 * 7 * DAY + DAY
    weeks = History(events, goods(), START, 7, 10, USERS, skipped_days=1)
    assert [weeks.span(window) for window in (9, 10)] == [(monday - 7 * DAY, monday), (tuesday, tuesday + 7 * DAY)]
    assert [weeks.age(window) for window in (10, 13)] == [1 / 7, 3 + 1 / 7]
    users = np.unique(weeks.cut_out(10).user)
    since = [np.where(events.user < 30, moment, events.user_since) for moment in (monday, monday - 1)]
    new = [History(events._replace(user_since=one), goods(), START, 7, 10, USERS, skipped_days=1) for one in since]
    assert [weeks.sums(10, 10)["new users"] for weeks in new] == [(users < 30).sum(), 0]


def test_sums_are_those_of_the_users_one_by_one(events: Events) -> None:
    weeks = history(events, 10)
    counted = weeks.counted(9)
    own = events.between(*weeks.span(9))
    assert np.array_equal(weeks.sums(9, 9).values, counted.values.sum(axis=0))
    sums = Sums(counted.values)
    for row in (0, 17, 200):
        user = own.such(own.user == counted.users[row])
        assert sums["interactions"][row] == len(user.at)
        assert sums["buyers"][row] == float((user.kind == KIND["purchase"]).any())
        assert sums["types"][row].sum() == len(user.at)
        assert sums["events"][row].sum() == sums["users"][row] == 1


def test_each_tenth_of_popularity_has_a_tenth_of_the_interactions_as_far_as_single_items_allow(events: Events) -> None:
    usual = history(events, 10).usual(10)["popularity"]
    assert usual.sum() == 4 * USERS * 6
    assert usual.max() < 0.3 * usual.sum()  # the first item alone has a quarter


def test_items_and_users_are_new_that_came_after_the_champion_has_learned(events: Events) -> None:
    late = START + 11 * 7 * DAY
    some, others = events.user < 30, events.item == 3
    moved = events._replace(
        user_since=np.where(some, late, events.user_since), item_since=np.where(others, late, events.item_since)
    )
    sums = history(moved, 10).sums(12, 10)
    own = moved.between(START + 12 * 7 * DAY, START + 13 * 7 * DAY)
    assert sums["new users"] == 30
    assert sums["new items"] == (own.item == 3).sum()
    before = history(moved, 12).sums(12, 12)  # a champion that has learned since then knows them
    assert (before["new users"], before["new items"]) == (0, 0)


def test_the_same_window_drawn_once_is_the_window(events: Events) -> None:
    weeks = history(events, 10)
    counted, usual = weeks.counted(9).values, weeks.usual(9)
    once = values(Sums(np.ones((1, len(counted))) @ counted), usual)[0]
    assert np.allclose(once, values(weeks.sums(9, 9), usual), equal_nan=True)
    assert len(once) == len(SIGNALS) == len(set(NAMES))


def test_a_gap_is_the_days_since_the_user_turned_to_the_item_on_another_day() -> None:
    day = np.array([0, 0, 3, 3, 10, 4])
    user, item = np.array([1, 1, 1, 1, 1, 2]), np.array([5, 5, 5, 6, 5, 5])
    kind = np.full(6, KIND["view"])
    events = gaps(user, item, day * DAY + np.arange(6), kind)
    assert events.tolist() == [MISSING_CODE, MISSING_CODE, 3, MISSING_CODE, 7, MISSING_CODE]
    kind[2] = KIND["impression"]
    assert gaps(user, item, day * DAY, kind).tolist() == [
        MISSING_CODE,
        MISSING_CODE,
        MISSING_CODE,
        MISSING_CODE,
        10,
        MISSING_CODE,
    ]

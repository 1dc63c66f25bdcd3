from typing import Any

import pytest

from models.features.tables.user_features import visits

HOUR = 3600
DAY = 24 * HOUR
NOW = 100 * DAY


def visited(answer: Any, *events: tuple[Any, ...], now: int = NOW) -> dict[str, object]:
    rows = answer(lambda known, _, at: visits(known, at), [("ann", "milk", *event) for event in events], [], now)
    assert len(rows) <= 1
    return rows[0] if rows else {}


def test_half_an_hour_without_an_event_ends_a_session(answer: Any) -> None:
    ann = visited(answer, ("view", 0), ("view", 1799), ("click", 3598), ("view", 5398), ("purchase", 5408))
    assert ann["sessions"] == 2
    assert ann["mean_session_minutes"] == pytest.approx((3598 + 10) / 2 / 60)
    assert ann["events_per_session"] == 5 / 2


def test_sessions_of_two_users_do_not_meet(answer: Any) -> None:
    events = [("ann", "milk", "view", 0), ("bob", "milk", "view", 10), ("ann", "milk", "view", 20)]
    rows = answer(lambda known, _, now: visits(known, now), events, [], NOW)
    assert {row["user_key"]: (row["sessions"], row["events_per_session"]) for row in rows} == {
        "ann": (1, 2.0),
        "bob": (1, 1.0),
    }


def test_engagement_weighs_types_and_halves_every_30_days(answer: Any) -> None:
    ann = visited(answer, ("purchase", NOW - 30 * DAY), ("view", NOW - 60 * DAY), ("impression", NOW - DAY))
    assert ann["engagement"] == pytest.approx(10 / 2 + 1 / 4)


def test_half_hours_count_once_however_much_happens_in_them(answer: Any) -> None:
    thursday, saturday, sunday, monday = 0, 2 * DAY, 3 * DAY, 4 * DAY
    burst = [("view", thursday + 10 * HOUR + second) for second in range(9)]
    ann = visited(
        answer,
        *burst,
        ("view", saturday + 18 * HOUR),
        ("view", sunday + 24 * HOUR - 1),
        ("view", monday),
        ("view", saturday - 1),
    )
    assert ann["evening_share"] == 3 / 5
    assert ann["weekend_share"] == 2 / 5


@pytest.mark.parametrize(
    ("hours", "favourite"), [((7, 7.5, 30, 54), 6), ((23, 47, 1), 23), ((24, 0), 0), ((9, 32, 8, 33), 8)]
)
def test_the_favourite_hour_is_the_one_with_most_half_hours_and_then_the_earliest(
    answer: Any, hours: tuple[float, ...], favourite: int
) -> None:
    assert visited(answer, *(("view", int(hour * HOUR)) for hour in hours))["favourite_hour"] == favourite


def test_a_refund_is_no_visit(answer: Any) -> None:
    assert visited(answer, ("refund", 5)) == {}

"""Times of calls by the server's clock."""

from datetime import UTC, datetime
from typing import Any

import pytest

from models.ingest.segment.sent_clock import occurred_at

RECEIVED = datetime(2026, 11, 29, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("timestamp", "sent", "expected"),
    [
        ("2026-11-29T09:00:00Z", "2026-11-29T10:00:00.000Z", datetime(2026, 11, 29, 11, tzinfo=UTC)),  # two hours slow
        ("2027-11-29T11:59:00Z", "2027-11-29T12:00:00Z", datetime(2026, 11, 29, 11, 59, tzinfo=UTC)),  # a year fast
        ("2026-11-29T12:59:59+01:00", "2026-11-29T12:59:59+01:00", datetime(2026, 11, 29, 11, 59, 59, tzinfo=UTC)),
        ("2019-01-01T00:00:00Z", "2026-11-29T12:00:01Z", datetime(2019, 1, 1, tzinfo=UTC)),  # an import of old events
        ("2026-11-29T11:00:00Z", None, datetime(2026, 11, 29, 11, tzinfo=UTC)),
        ("2026-11-29T11:00:00Z", "yesterday", datetime(2026, 11, 29, 11, tzinfo=UTC)),
        (None, "2026-11-29T10:00:00Z", RECEIVED),
        ("yesterday", None, "yesterday"),
        ("2026-11-29T13:00:00", "2026-11-29T13:59:58.123456", datetime(2026, 11, 29, 11, tzinfo=UTC)),  # local times
        ("2026-11-29T17:15:00", "2026-11-29T17:44:57", datetime(2026, 11, 29, 11, 30, tzinfo=UTC)),  # in Nepal
        (
            "2026-11-29T08:00:00",
            "2026-11-29T08:50:00",
            datetime(2026, 11, 29, 11, 10, tzinfo=UTC),
        ),  # and ten minutes slow
        ("2026-11-29T11:00:00Z", "2026-11-29T14:00:00", datetime(2026, 11, 29, 11, tzinfo=UTC)),  # of two clocks
        ("2026-11-29T11:00:00", "2026-11-29T14:00:00Z", datetime(2026, 11, 29, 11, tzinfo=UTC)),
        (
            "2026-11-29T11:59:59.123456789Z",
            "2026-11-29T12:00:00.1234567Z",
            datetime(2026, 11, 29, 11, 59, 59, 123456, UTC),
        ),
        ("9999-12-31T23:59:59Z", "2026-11-29T10:00:00Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_the_error_of_the_senders_clock_is_taken_out(timestamp: Any, sent: Any, expected: Any) -> None:
    assert occurred_at({"timestamp": timestamp, "sentAt": sent}, RECEIVED) == expected


@pytest.mark.parametrize("zone", ["", "Z"])
def test_a_call_that_is_sent_again_by_a_right_clock_keeps_its_time(zone: str) -> None:
    call = {"timestamp": f"2026-11-29T11:00:00{zone}", "sentAt": f"2026-11-29T11:59:57{zone}"}
    again = call | {"sentAt": f"2026-11-29T11:59:59.500{zone}"}
    assert occurred_at(call, RECEIVED) == occurred_at(again, RECEIVED)

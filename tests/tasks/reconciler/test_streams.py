"""A queue that is behind or silent, and new dead letters, cause one alert, sent to a Prefect that records requests."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from infra.installation import Installation
from infra.keys.recorded_api_keys import NewKey, create_key
from infra.prefect_api import events
from tasks.orchestration.alert_throttle import AlertThrottle
from tasks.reconciler.streams import alert_spent_quotas, alert_streams
from tests.recording_server import RecordingServer

LETTER = """
    INSERT INTO identity.dead_letters (source, reason, detail, body, digest)
    VALUES ('bus', 'malformed', 'No JSON.', 'x', CAST(:digest AS bytea))"""


@pytest.fixture
def recorder() -> Iterator[RecordingServer]:
    with RecordingServer() as received:
        yield received


@pytest.fixture
def installation(installation: Installation, recorder: RecordingServer) -> Installation:
    return recorder.installed(installation)


def do(installation: Installation, statement: str, **values: Any) -> None:
    with installation.engine.begin() as connection:
        connection.execute(text(statement), values)


def test_a_queue_is_reported_once_while_it_is_behind_or_silent(
    installation: Installation, recorder: RecordingServer
) -> None:
    throttle = AlertThrottle()
    do(installation, "INSERT INTO streams (queue, source, lag) VALUES ('events', 'bus', 10000)")
    assert alert_streams(installation, throttle) is None
    do(installation, "UPDATE streams SET lag = 10001")
    assert alert_streams(installation, throttle) == (
        "10,001 messages wait in the queue events; 10,000 are allowed. Start another consumer."
    )
    assert alert_streams(installation, throttle) is None
    do(installation, "UPDATE streams SET lag = 0")
    assert alert_streams(installation, throttle) is None
    do(installation, "UPDATE streams SET seen_at = now() - interval '5 minutes'")
    assert alert_streams(installation, throttle) == (
        "Nobody has consumed the queue events for 5 minutes. Start `tailorbird consume`."
    )
    do(installation, "UPDATE streams SET seen_at = now() - interval '8 days'")
    assert alert_streams(installation, AlertThrottle()) is None
    sent = [(event["event"], event["resource"]["prefect.resource.id"]) for event in recorder.events()]
    assert sent == [(events.STREAM, "tailorbird.stream.events")] * 2


def test_new_dead_letters_are_reported_until_they_are_replayed(installation: Installation) -> None:
    throttle = AlertThrottle()
    do(installation, LETTER, digest="a")
    first = "1 messages of bus could not be stored: see `tailorbird dead-letters list`."
    assert alert_streams(installation, throttle) == first
    assert alert_streams(installation, throttle) is None
    do(installation, LETTER, digest="b")
    assert (alert_streams(installation, throttle) or "").startswith("2 messages of bus")
    do(installation, "UPDATE identity.dead_letters SET replayed_at = now()")
    assert alert_streams(installation, AlertThrottle()) is None


def test_a_spent_quota_of_a_page_key_is_reported_once_a_day(
    installation: Installation, recorder: RecordingServer
) -> None:
    throttle, key = AlertThrottle(), create_key(installation.engine, NewKey("web", ["collect"]), "ann")
    today = "(now() AT TIME ZONE 'UTC')::date"
    do(installation, f"INSERT INTO key_usage VALUES (:key, {today}, 999999, 0)", key=key["key_id"])
    assert alert_spent_quotas(installation, throttle) is None
    do(installation, "UPDATE key_usage SET calls = 1000000")
    reason = alert_spent_quotas(installation, throttle) or ""
    assert reason.startswith("Pages with the key web have sent 1,000,000 calls and 0 MB today; 1,000,000 and 2,000")
    assert f"tailorbird keys rotate api {key['key_id']}" in reason
    assert alert_spent_quotas(installation, throttle) is None
    do(installation, f"UPDATE key_usage SET day = {today} - 1")
    assert alert_spent_quotas(installation, AlertThrottle()) is None
    (event,) = recorder.events()
    assert (event["event"], event["payload"]["reason"]) == (events.QUOTA, reason)

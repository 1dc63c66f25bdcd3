"""Stale lists cause one alert a day, sent to a Prefect that records requests."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import text

from infra.installation import Installation
from infra.prefect_api import events
from tasks.orchestration.alert_throttle import AlertThrottle
from tasks.reconciler.reconcile import alert_stale_lists
from tests.published import published, shelf
from tests.recording_server import RecordingServer


@pytest.fixture
def recorder() -> Iterator[RecordingServer]:
    with RecordingServer() as received:
        yield received


@pytest.fixture
def installation(installation: Installation, recorder: RecordingServer) -> Installation:
    return recorder.installed(installation)


def age(installation: Installation, hours: int) -> None:
    with installation.engine.begin() as connection:
        connection.execute(text(f"UPDATE placements SET checked_at = now() - interval '{hours} hours'"))


def test_lists_older_than_their_hours_are_reported_once(installation: Installation, recorder: RecordingServer) -> None:
    throttle = AlertThrottle()
    assert alert_stale_lists(installation, throttle) is None
    published(installation.engine, {"ann": [("i1", 1.0, "a")]}, shelf("v1", "home"))
    assert alert_stale_lists(installation, throttle) is None
    age(installation, 51)
    assert alert_stale_lists(installation, throttle) == "The lists of home are stale."
    assert alert_stale_lists(installation, throttle) is None
    [event] = recorder.events()
    assert (event["event"], event["resource"]) == (
        events.STALE_LISTS,
        {"prefect.resource.id": "tailorbird.placement.home"},
    )
    assert event["payload"]["reason"].startswith("The lists of home are 51 hours old; 48 are allowed.")
    age(installation, 1)
    assert alert_stale_lists(installation, throttle) is None
    age(installation, 60)  # it was well again: that is news
    assert alert_stale_lists(installation, throttle) is not None


def test_an_alert_that_prefect_did_not_receive_is_repeated_at_the_next_look(
    installation: Installation, recorder: RecordingServer
) -> None:
    throttle = AlertThrottle()
    published(installation.engine, {"ann": [("i1", 1.0, "a")]}, shelf("v1", "home"))
    age(installation, 51)
    alert_stale_lists(
        replace(installation, endpoints=replace(installation.endpoints, prefect_api_url="http://127.0.0.1:9/api")),
        throttle,
    )
    alert_stale_lists(installation, throttle)
    assert len(recorder.events()) == 1


def test_a_placement_that_is_not_configured_any_more_promises_nothing(
    installation: Installation, recorder: RecordingServer
) -> None:
    published(installation.engine, {"ann": [("i1", 1.0, "a")]}, shelf("v1", "summer"))
    age(installation, 5000)
    assert alert_stale_lists(installation, AlertThrottle()) is None
    assert recorder.events() == []

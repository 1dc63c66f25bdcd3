"""The reconciler starts `privacy` for requests that wait, and alerts before one is late."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from infra.database.schema.privacy_schema import ERASE, EXPORT
from infra.installation import Installation
from infra.locks import locked
from infra.prefect_api import events
from tasks.orchestration.alert_throttle import AlertThrottle
from tasks.privacy.requests import ask
from tasks.reconciler.alerts import alert_late_requests
from tasks.reconciler.lost_runs import start_privacy
from tests.tasks.reconciler.test_lost_runs import Desk


@pytest.fixture
def prefect() -> Iterator[Desk]:
    with Desk() as server:
        yield server


@pytest.fixture
def installation(installation: Installation, prefect: Desk) -> Installation:
    """An installation whose Prefect that is."""
    return prefect.installed(installation)


def age(installation: Installation, days: float) -> None:
    moved = "UPDATE identity.privacy_requests SET asked_at = asked_at - :days * interval '1 day', "
    with installation.engine.begin() as connection:
        connection.execute(text(moved + "due_at = due_at - :days * interval '1 day'"), {"days": days})


def test_a_request_that_waits_starts_one_run_once_no_other_work_holds_it_up(
    installation: Installation, prefect: Desk
) -> None:
    assert start_privacy(installation) is None
    ask(installation, ERASE, ["u1"], "ann", "asked by mail")
    assert start_privacy(installation) is None, "the command carries it out"
    age(installation, 0.01)
    with locked(installation.engine, purpose="train als"):
        assert start_privacy(installation) is None
        ask(installation, EXPORT, ["u2"], "ann", "asked by mail")
        age(installation, 0.01)
        assert start_privacy(installation) == "Requests of people up to number 2 are being carried out."
    assert start_privacy(installation) is None
    (run,) = prefect.runs
    assert run["parameters"] == {}


def test_a_request_is_alerted_before_it_is_late_and_once_a_day(installation: Installation, prefect: Desk) -> None:
    throttle = AlertThrottle()
    ask(installation, ERASE, ["u1"], "ann", "asked by mail")
    age(installation, 22.9)
    assert alert_late_requests(installation, throttle) is None
    age(installation, 0.2)
    assert "Request 1 to erase is due on" in str(alert_late_requests(installation, throttle))
    assert alert_late_requests(installation, throttle) is None
    age(installation, 7)
    assert "Request 1 to erase was due on" in str(alert_late_requests(installation, AlertThrottle()))
    (first, _) = prefect.events()
    assert (first["event"], first["resource"]["prefect.resource.id"]) == (
        events.PRIVACY,
        "tailorbird.privacy-request.1",
    )
    assert "u1" not in str(first)

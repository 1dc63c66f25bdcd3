"""Requested retrainings without a run are started, in a Prefect that only records requests."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from infra.installation import Installation
from infra.prefect_api import events
from tasks.monitoring.retraining.leases import claim, finish
from tasks.monitoring.retraining.requests import Request, get_request, request_retraining
from tasks.reconciler.lost_runs import restart_retrain
from tasks.review.outcomes import ReviewOutcome
from tests.recording_server import Prefect


class Desk(Prefect):
    """A Prefect with one deployment that records requested runs and emitted events."""

    def response(self, path: str, line: Any) -> Any:
        if path == "/api/deployments/name/retrain/retrain":
            return {"id": "d1"} if self.deployed else None
        if path == "/api/events":
            return {}
        if path.startswith("/api/flow_runs/run-"):
            return next((run for run in self.runs if run["id"] == path.rpartition("/")[2]), None)
        if path == "/api/deployments/d1/create_flow_run":
            self.runs.append({**line, "id": f"run-{len(self.runs) + 1}", "state": {"type": "SCHEDULED"}})
            return self.runs[-1]
        keys = line["flow_runs"]["idempotency_key"]["any_"]
        found = [run for run in self.runs if run["idempotency_key"] in keys]
        return len(found) if path.endswith("/count") else found


@pytest.fixture
def prefect() -> Iterator[Desk]:
    with Desk() as server:
        yield server


@pytest.fixture
def installation(installation: Installation, prefect: Desk) -> Installation:
    """An installation whose Prefect that is."""
    return prefect.installed(installation)


@pytest.fixture
def request_id(installation: Installation) -> int:
    """One that has waited for its event's run."""
    with installation.engine.begin() as connection:
        made = request_retraining(connection, "drift", "baskets have moved")
        assert made is not None
        connection.execute(text("UPDATE retrain_requests SET requested_at = now() - interval '30 seconds'"))
    return made.request_id


def found(installation: Installation, request_id: int) -> Request:
    with installation.engine.connect() as connection:
        return get_request(connection, request_id)


def lose(installation: Installation, prefect: Desk, request_id: int, state: str = "CRASHED") -> None:
    """The newest run has begun, and is gone."""
    run = prefect.runs[-1]
    assert claim(installation.engine, request_id, run["id"])
    run["state"] = {"type": state}
    with installation.engine.begin() as connection:
        connection.execute(text("UPDATE retrain_requests SET leased_until = now() - interval '1 second'"))


def test_a_request_has_time_to_be_started_by_its_event(installation: Installation, prefect: Desk) -> None:
    assert restart_retrain(installation) is None
    with installation.engine.begin() as connection:
        request_retraining(connection, "drift", "baskets have moved")
    assert restart_retrain(installation) is None
    assert prefect.runs == []


def test_one_that_nobody_began_is_started_once(installation: Installation, prefect: Desk, request_id: int) -> None:
    assert restart_retrain(installation) == f"Retrain request {request_id}: a run was started."
    assert restart_retrain(installation) is None
    [run] = prefect.runs
    assert run["parameters"] == {"request": request_id}
    claimed = claim(installation.engine, request_id, run["id"])
    assert claimed is not None
    assert restart_retrain(installation) is None
    finish(claimed, "done", ReviewOutcome.CHAMPION_KEPT)
    assert restart_retrain(installation) is None
    assert len(prefect.runs) == 1


def test_a_lost_run_is_followed_by_one_with_its_parameters_and_the_third_is_the_last(
    installation: Installation, prefect: Desk, request_id: int
) -> None:
    restart_retrain(installation)
    prefect.runs[0]["parameters"]["models"] = ["als"]
    for _ in range(2):
        lose(installation, prefect, request_id)
        assert restart_retrain(installation) is not None
        assert restart_retrain(installation) is None
    assert [run["parameters"] for run in prefect.runs] == [{"models": ["als"], "request": request_id}] * 3
    lose(installation, prefect, request_id)
    line = restart_retrain(installation)
    assert line is not None
    assert "given up after 3 attempts" in line
    assert (found(installation, request_id).status, found(installation, request_id).fence) == ("failed", 3)
    [event] = prefect.events()
    assert (event["event"], event["payload"]["request"]) == (events.GIVEN_UP, request_id)
    assert "baskets have moved" in event["payload"]["reason"]
    assert event["payload"]["page"].endswith("/runs/flow-run/run-3")
    assert restart_retrain(installation) is None


def test_runs_that_end_before_they_begin_are_given_up_too(
    installation: Installation, prefect: Desk, request_id: int
) -> None:
    for _ in range(3):
        restart_retrain(installation)
        prefect.runs[-1]["state"] = {"type": "FAILED"}
    assert "3 runs ended before they began" in str(restart_retrain(installation))
    assert (len(prefect.runs), len(prefect.events()), found(installation, request_id).status) == (3, 1, "failed")


def test_a_run_that_a_person_cancelled_is_not_started_again_and_alerts_nobody(
    installation: Installation, prefect: Desk, request_id: int
) -> None:
    restart_retrain(installation)
    lose(installation, prefect, request_id, "CANCELLED")
    assert restart_retrain(installation) == f"Retrain request {request_id} is over: a person cancelled its run."
    assert (len(prefect.runs), prefect.events(), found(installation, request_id).status) == (1, [], "failed")


@pytest.mark.usefixtures("request_id")
def test_before_the_first_deploy_a_request_waits(installation: Installation, prefect: Desk) -> None:
    prefect.deployed = False
    assert restart_retrain(installation) is None
    prefect.deployed = True
    assert restart_retrain(installation) is not None

"""Retrain requests on the real servers: from an event, from the poll, after a crash, and two at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from sqlalchemy import text

from infra.installation import Installation
from infra.prefect_api import events
from infra.prefect_api.client import login_headers
from infra.services import state_file
from infra.services.http_client import request_json as call
from models.primitives.json_types import JsonObject
from tasks.monitoring.retraining.requests import Request, get_request, request_retraining

if TYPE_CHECKING:
    from conftest import Shop

QUICK = {"models": ["most_popular", "own_frequency"], "searched": []}


@pytest.fixture(scope="module")
def ready(stocked: Shop) -> Shop:
    """Return the shop with a lease of a few seconds, which its worker and its reconciler keep until the next `up`."""
    stocked.run("up", TAILORBIRD_RETRAIN_LEASE_SECONDS="6")
    return stocked


@pytest.fixture
def quick(ready: Shop, live: Installation) -> Iterator[Installation]:
    """Let runs of `retrain` take seconds, and close open requests."""
    assert live.settings.var == ready.var
    deployment = prefect(live, "GET", "/deployments/name/retrain/retrain")
    prefect(live, "PATCH", f"/deployments/{deployment['id']}", {"parameters": QUICK})
    write(live, "UPDATE retrain_requests SET status = 'failed' WHERE status IN ('requested', 'running')")
    yield live
    prefect(live, "PATCH", f"/deployments/{deployment['id']}", {"parameters": deployment["parameters"]})


def prefect(installation: Installation, method: str, path: str, body: Any = None) -> Any:
    endpoints = installation.endpoints
    return call(method, endpoints.prefect_api_url + path, login_headers(endpoints.environment), body)


def write(installation: Installation, statement: str) -> None:
    with installation.engine.begin() as connection:
        connection.execute(text(statement))


def open_request(installation: Installation) -> int:
    with installation.engine.begin() as connection:
        made = request_retraining(connection, "drift", "baskets have moved")
    assert made is not None
    return made.request_id


def emit_drift(installation: Installation, request_id: int) -> bool:
    payload = {"request": request_id, "reason": "baskets have moved"}
    return events.try_emit(installation.endpoints, events.DRIFT, events.request_resource(request_id), payload)


def overdue(installation: Installation) -> None:
    """Make the requests as old as if they had waited for a run."""
    write(installation, "UPDATE retrain_requests SET requested_at = now() - interval '1 minute'")


def until(installation: Installation, request_id: int, right: Callable[[Request], bool], seconds: float) -> Request:
    deadline = time.monotonic() + seconds
    while True:
        with installation.engine.connect() as connection:
            request = get_request(connection, request_id)
        if right(request):
            return request
        assert time.monotonic() < deadline, request
        time.sleep(0.1)


def done(installation: Installation, request_id: int, seconds: float = 60) -> Request:
    return until(installation, request_id, lambda request: request.status == "done", seconds)


def run_of(installation: Installation, run_id: str | None) -> JsonObject:
    return dict(prefect(installation, "GET", f"/flow_runs/{run_id}"))


def table_of(installation: Installation, run_id: str) -> JsonObject:
    """Return the table of a run, which shows it after it has ended its request."""
    chosen = {"artifacts": {"flow_run_id": {"any_": [run_id]}, "key": {"any_": ["retraining"]}}}
    deadline = time.monotonic() + 60
    while not (found := prefect(installation, "POST", "/artifacts/filter", chosen)):
        assert time.monotonic() < deadline, run_id
        time.sleep(0.1)
    [table] = found
    return dict(table)


def test_of_two_detections_at_once_one_run_retrains_and_names_each_step_and_the_other_ends_at_once(
    quick: Installation,
) -> None:
    made = detected_twice(quick)
    assert emit_drift(quick, made.request_id)
    assert emit_drift(quick, made.request_id)
    began = until(quick, made.request_id, lambda request: request.status == "running", 60)
    assert run_of(quick, began.flow_run)["state"]["type"] == "RUNNING"
    request = done(quick, made.request_id)
    assert (request.outcome, request.fence) == ("kept", 1)
    runs = quick.endpoints.runs_page
    assert {"features", "train", "review", "score", "train: most_popular", "features: Data Docs"} <= set(request.steps)
    assert request.steps["features"].startswith(f"{runs}/task-run/")
    assert all(request.steps[name].startswith(f"{runs}/flow-run/") for name in ("train", "review", "score"))
    table = table_of(quick, str(request.flow_run))
    assert "the champion; it stays" in table["description"]
    assert all(page in table["data"] for page in request.steps.values())
    for step in ("train", "review", "score"):
        assert run_of(quick, request.steps[step].rpartition("/")[2])["state"]["type"] == "COMPLETED"
    other = table_of(quick, until_two_runs(quick, made.request_id, str(request.flow_run)))["description"]
    assert "Nothing was trained here" in other
    assert f"retrain request {made.request_id} (drift: baskets have moved)" in other


def detected_twice(installation: Installation) -> Request:
    """Request a retraining from two threads at once; return the one request that this makes."""
    barrier = Barrier(2)

    def detect(_: int) -> Request | None:
        barrier.wait()
        with installation.engine.begin() as connection:
            return request_retraining(connection, "drift", "baskets have moved")

    with ThreadPoolExecutor(2) as pool:
        [made] = [request for request in pool.map(detect, range(2)) if request]
    return made


def until_two_runs(installation: Installation, request_id: int, first: str) -> str:
    """Wait for the other run of a request and return it."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for seen in prefect(installation, "POST", "/flow_runs/filter", {"sort": "START_TIME_DESC"}):
            same_request = seen["parameters"].get("request") == request_id and seen["id"] != first
            if same_request and seen["state"]["type"] == "COMPLETED":
                return str(seen["id"])
        time.sleep(0.2)
    raise AssertionError("there was no second run that completed")


@pytest.mark.faults
def test_a_request_that_was_made_while_prefect_was_down_is_started_by_the_poll(
    ready: Shop, quick: Installation
) -> None:
    ready.kill("prefect")
    request_id = open_request(quick)
    assert not emit_drift(quick, request_id)
    ready.run("up", TAILORBIRD_RETRAIN_LEASE_SECONDS="6")
    overdue(quick)
    assert done(quick, request_id, 90).fence == 1


def test_a_request_whose_event_was_lost_is_started_by_the_poll_and_a_killed_run_is_followed_by_another(
    ready: Shop, quick: Installation
) -> None:
    request_id = open_request(quick)
    overdue(quick)
    lost = until(quick, request_id, lambda request: request.status == "running", 60)
    assert lost.fence == 1
    kill_run(ready, str(lost.flow_run))
    request = done(quick, request_id, 90)
    assert request.fence == 2
    assert request.flow_run != lost.flow_run
    assert run_of(quick, lost.flow_run)["state"]["type"] == "CRASHED"
    assert run_of(quick, request.flow_run)["parameters"] == {**QUICK, "request": request_id}


def kill_run(shop: Shop, run_id: str) -> None:
    """End the process of a flow run, and all that it has started."""
    worker = state_file.load(shop.var)["worker"].running
    assert worker is not None
    ended = 0
    for process in psutil.Process(worker.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a child of theirs that was ending anyway
            if run_id in str(process.environ()):
                process.kill()
                ended += 1
    assert ended


def test_a_command_that_comes_while_a_run_works_names_the_run_and_trains_nothing(
    ready: Shop, quick: Installation
) -> None:
    request_id = open_request(quick)
    emit_drift(quick, request_id)
    request = until(quick, request_id, lambda request: request.status == "running", 30)
    taken = "UPDATE retrain_requests SET fence = 99, leased_until = now() + interval '1 hour'"
    write(quick, f"{taken} WHERE status = 'running'")
    output = ready.run("retrain", "--model", "most_popular")
    assert "Nothing was trained here: another run works on" in output
    assert f"runs/flow-run/{request.flow_run}" in output
    deadline = time.monotonic() + 30
    while (ended := run_of(quick, request.flow_run)["state"])["type"] == "RUNNING":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert ended["type"] == "FAILED"  # somebody else has the request: it was superseded
    assert "was superseded" in ended["message"]


def test_nothing_is_learned_from_a_feed_known_to_be_broken_unless_an_option_asks_for_it(
    ready: Shop, quick: Installation
) -> None:
    write(quick, BROKEN_FEED)
    try:
        refused = ready.json("retrain", "--model", "most_popular")
        assert (refused["review"], refused["outcome"]) == (None, "blocked: the feed is broken (no events for a day)")
        models = ("--model", "most_popular", "--model", "own_frequency")
        forced = ready.json("retrain", *models, "--ignore-feed-check", "--minutes", "0.01")
        assert forced["review"] is not None
    finally:
        write(quick, "DELETE FROM drift_reports; DELETE FROM drift_calibrations")
    with quick.engine.connect() as connection:
        blocked, worked = get_request(connection, refused["request"]), get_request(connection, forced["request"])
    assert (blocked.status, blocked.origin, worked.status) == ("failed", "person", "done")


BROKEN_FEED = """
WITH usual AS (
  INSERT INTO drift_calibrations (promotion_id, model_version, window_days, windows, reference_from, reference_to,
    calibration, made_by, reason)
  VALUES (1, 1, 7, 8, now() - interval '9 weeks', now() - interval '1 week', '{}', 'a test', 'a test')
  RETURNING calibration_id)
INSERT INTO drift_reports (calibration_id, promotion_id, model_version, window_from, window_to, verdict,
  joint_threshold, drivers, signals, feed, decision, reasons)
SELECT calibration_id, 1, 1, now() - interval '1 week', now(), 'invalid_feed', 1, '{}', '{}', '{}', 'blocked',
  '{no events for a day}' FROM usual
"""

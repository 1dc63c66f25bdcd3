"""Retrain requests on the real servers: from an event, from the poll, after a crash, and two at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

from infra.installation import Installation
from infra.prefect_api import events
from models.primitives.json_types import JsonObject
from tasks.monitoring.retraining.requests import Request, get_request, request_retraining
from tests.flows.conftest import write
from tests.waiting import until

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
    deployment = ready.prefect("GET", "/deployments/name/retrain/retrain")
    ready.prefect("PATCH", f"/deployments/{deployment['id']}", {"parameters": QUICK})
    write(live, "UPDATE retrain_requests SET status = 'failed' WHERE status IN ('requested', 'running')")
    yield live
    ready.prefect("PATCH", f"/deployments/{deployment['id']}", {"parameters": deployment["parameters"]})


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


def has_status(installation: Installation, request_id: int, status: str, seconds: float = 60) -> Request:
    """Wait until a request has a status; return it."""

    def seen() -> Request | None:
        with installation.engine.connect() as connection:
            request = get_request(connection, request_id)
        return request if request.status == status else None

    request = until(seen, seconds)
    assert request is not None
    return request


def run_of(shop: Shop, run_id: str | None) -> JsonObject:
    return dict(shop.prefect("GET", f"/flow_runs/{run_id}"))


def table_of(shop: Shop, run_id: str) -> JsonObject:
    """Return the table of a run, which shows it after it has ended its request."""
    chosen = {"artifacts": {"flow_run_id": {"any_": [run_id]}, "key": {"any_": ["retraining"]}}}
    [table] = until(lambda: shop.prefect("POST", "/artifacts/filter", chosen), 60, run_id)
    return dict(table)


def test_of_two_detections_at_once_one_run_retrains_and_names_each_step_and_the_other_ends_at_once(
    ready: Shop, quick: Installation
) -> None:
    made = detected_twice(quick)
    assert emit_drift(quick, made.request_id)
    assert emit_drift(quick, made.request_id)
    began = has_status(quick, made.request_id, "running", 60)
    assert run_of(ready, began.flow_run)["state"]["type"] == "RUNNING"
    request = has_status(quick, made.request_id, "done")
    assert (request.outcome, request.fence) == ("kept", 1)
    runs = quick.endpoints.runs_page
    assert {"features", "train", "review", "score", "train: most_popular", "features: Data Docs"} <= set(request.steps)
    assert request.steps["features"].startswith(f"{runs}/task-run/")
    assert all(request.steps[name].startswith(f"{runs}/flow-run/") for name in ("train", "review", "score"))
    table = table_of(ready, str(request.flow_run))
    assert "the champion; it stays" in table["description"]
    assert all(page in table["data"] for page in request.steps.values())
    for step in ("train", "review", "score"):
        assert run_of(ready, request.steps[step].rpartition("/")[2])["state"]["type"] == "COMPLETED"
    other = table_of(ready, until_two_runs(ready, made.request_id, str(request.flow_run)))["description"]
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


def until_two_runs(shop: Shop, request_id: int, first: str) -> str:
    """Wait for the other run of a request and return it."""

    def others() -> list[str]:
        runs = shop.prefect("POST", "/flow_runs/filter", {"sort": "START_TIME_DESC"})
        mine = [run for run in runs if run["parameters"].get("request") == request_id and run["id"] != first]
        return [str(run["id"]) for run in mine if run["state"]["type"] == "COMPLETED"]

    return until(others, complaint="there was no second run that completed")[0]


@pytest.mark.faults
def test_a_request_that_was_made_while_prefect_was_down_is_started_by_the_poll(
    ready: Shop, quick: Installation
) -> None:
    ready.kill("prefect")
    request_id = open_request(quick)
    assert not emit_drift(quick, request_id)
    ready.run("up", TAILORBIRD_RETRAIN_LEASE_SECONDS="6")
    overdue(quick)
    assert has_status(quick, request_id, "done", 90).fence == 1


def test_a_request_whose_event_was_lost_is_started_by_the_poll_and_a_killed_run_is_followed_by_another(
    ready: Shop, quick: Installation
) -> None:
    request_id = open_request(quick)
    overdue(quick)
    lost = has_status(quick, request_id, "running", 60)
    assert lost.fence == 1
    assert ready.kill_run(str(lost.flow_run))
    request = has_status(quick, request_id, "done", 90)
    assert request.fence == 2
    assert request.flow_run != lost.flow_run
    assert run_of(ready, lost.flow_run)["state"]["type"] == "CRASHED"
    assert run_of(ready, request.flow_run)["parameters"] == {**QUICK, "request": request_id}


def test_a_command_that_comes_while_a_run_works_names_the_run_and_trains_nothing(
    ready: Shop, quick: Installation
) -> None:
    request_id = open_request(quick)
    emit_drift(quick, request_id)
    request = has_status(quick, request_id, "running", 30)
    taken = "UPDATE retrain_requests SET fence = 99, leased_until = now() + interval '1 hour'"
    write(quick, f"{taken} WHERE status = 'running'")
    output = ready.run("retrain", "--model", "most_popular")
    assert "Nothing was trained here: another run works on" in output
    assert f"runs/flow-run/{request.flow_run}" in output
    until(lambda: run_of(ready, request.flow_run)["state"]["type"] != "RUNNING")
    ended = run_of(ready, request.flow_run)["state"]
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


def test_a_retrain_searches_what_is_due_and_goes_on_without_what_it_does_not_find(stocked: Shop) -> None:
    before = stocked.json("status")["champion"]
    stocked.sql("DELETE FROM search_results WHERE model = 'als'")
    models = ("--model", "most_popular", "--model", "own_frequency", "--model", "als")
    result = stocked.json("retrain", "--minutes", "0.03", *models)
    assert result["due"] == {"als": "it has no search yet"}  # nobody named two_stage; own_frequency is a minute old
    assert list(result["searches"]) == ["als"]
    assert re.fullmatch(  # an earlier test may have tried settings of the same study
        r"It found no settings; the model is trained with its defaults\.|It tried \d+ settings, and the best .*",
        result["searches"]["als"],
    )
    ladder = [row["model"] for row in result["review"]["ladder"]]
    assert {"most_popular", "own_frequency"} <= set(ladder)
    assert result["review"]["status"] != "approved"  # a person decides
    assert stocked.json("status")["champion"] == before

"""Missing lists and requested retrainings are asked for once, of a Prefect that only records what it is asked."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from time import sleep
from typing import Any

import pytest
from sqlalchemy import Engine, insert, text, update

from infra.database.schema.schema import promotions, recommendation_batches
from infra.installation import Installation
from infra.locks import locked
from infra.prefect_api import events
from tasks.monitoring.retraining.requests import Request, claim, finish, get_request, request_retraining
from tasks.orchestration.alert_throttle import AlertThrottle
from tasks.reconciler.lost_runs import IdleRuns, restart_retrain, start_scoring
from tasks.review.outcomes import ReviewOutcome
from tasks.scoring import batch_state
from tests.published import published, shelf
from tests.recording_server import Prefect

ALL = ["home", "buy-again", "email", "similar-items", "goes-well-with"]


class Desk(Prefect):
    """Knows one deployment, its runs, and the events that were emitted."""

    def response(self, path: str, body: Any) -> Any:
        if path.startswith("/api/deployments/name/"):
            return {"id": "d1"} if self.deployed else None
        if path == "/api/events":
            return {}
        if path.endswith("/set_state"):
            run = next(run for run in self.runs if run["id"] == path.split("/")[3])
            run["state"] = body["state"]
            return {}
        if path.startswith("/api/flow_runs/run-"):
            return next((run for run in self.runs if run["id"] == path.rpartition("/")[2]), None)
        if path == "/api/deployments/d1/create_flow_run":
            self.runs.append({**body, "id": f"run-{len(self.runs) + 1}", "state": {"type": "SCHEDULED"}})
            return self.runs[-1]
        if "deployments" in body:
            return [run for run in self.runs if "start_time" in run][-1:]
        keys = body["flow_runs"]["idempotency_key"]["any_"]
        matches = [run for run in self.runs if run["idempotency_key"] in keys]
        return len(matches) if path.endswith("/count") else matches

    def set_state(self, state: str) -> None:
        """Let the newest run have begun, and be in that state now."""
        self.runs[-1] |= {"state": {"type": state}, "start_time": datetime.now(UTC).isoformat()}


@pytest.fixture
def prefect() -> Iterator[Desk]:
    with Desk() as server:
        yield server


@pytest.fixture
def installation(installation: Installation, prefect: Desk) -> Installation:
    """An installation whose Prefect that is."""
    return prefect.installed(installation)


def promote(installation: Installation, version: int, minutes: float = 5) -> None:
    row: dict[str, Any] = {"previous_promotion_id": version - 1, "model_version": version, "kind": "als", "metrics": {}}
    row |= {"dataset_version": "v1", "bundle": "b", "digest": "d", "actor": "a", "reason": "r"}
    row["promoted_at"] = datetime.now(UTC) - timedelta(minutes=minutes)
    with installation.engine.begin() as connection:
        connection.execute(insert(promotions).values(row))


def show(store: Engine, version: int, *names: str) -> None:
    for name in names:
        published(store, {"ann": [("i1", 1.0, "a")]}, shelf(f"v{version}", name, version, 1))


def test_after_a_promotion_all_placements_are_asked_for_once(installation: Installation, prefect: Desk) -> None:
    promote(installation, 1)
    assert start_scoring(installation) == f"Lists of version 1 are being made for {', '.join(ALL)}."
    assert start_scoring(installation) is None
    (run,) = prefect.runs
    assert run["parameters"] == {"placements": ALL}
    promote(installation, 2)
    assert start_scoring(installation)
    assert len(prefect.runs) == 2


def test_only_placements_without_the_champions_lists_are_asked_for(installation: Installation, prefect: Desk) -> None:
    promote(installation, 1)
    promote(installation, 2)
    show(installation.engine, 2, "home", "email", "similar-items")
    show(installation.engine, 1, "buy-again")
    start_scoring(installation)
    assert prefect.runs[0]["parameters"] == {"placements": ["buy-again", "goes-well-with"]}


def leave_unfinished(store: Engine, version: int, name: str, run: str, status: str = "loading") -> int:
    """Leave a batch as a killed run does; return its number."""
    with store.begin() as connection:
        claimed = batch_state.claim(connection, shelf(run, name, version, 1))
        batch_state.mark(connection, claimed, status=status)
    return claimed.batch_id


@pytest.mark.parametrize("state", ["CRASHED", "FAILED"])
def test_lists_of_a_lost_run_are_asked_for_again_and_the_third_run_is_the_last(
    installation: Installation, prefect: Desk, state: str
) -> None:
    promote(installation, 1)
    alerted = AlertThrottle()
    for _ in range(3):
        assert "are being made" in str(start_scoring(installation, IdleRuns(), alerted))
        assert start_scoring(installation, IdleRuns(), alerted) is None
        prefect.set_state(state)
    assert "3 runs were started for lists of version 1" in str(start_scoring(installation, IdleRuns(), alerted))
    assert start_scoring(installation, IdleRuns(), alerted) is None
    assert len(prefect.runs) == 3
    assert {event["resource"]["prefect.resource.id"] for event in prefect.events()} == {
        f"tailorbird.placement.{name}" for name in ALL
    }


def test_a_run_without_a_process_is_marked_as_crashed_and_followed_by_another(
    installation: Installation, prefect: Desk
) -> None:
    promote(installation, 1)
    idle = IdleRuns(seconds=0.01)
    start_scoring(installation, idle)
    prefect.set_state("RUNNING")
    with locked(installation.engine, batch_state.lock_name("home")):
        assert start_scoring(installation, idle) is None
    assert start_scoring(installation, idle) is None  # the first look at which it works on nothing
    sleep(0.02)
    assert "are being made" in str(start_scoring(installation, idle))
    assert [run["state"]["type"] for run in prefect.runs] == ["CRASHED", "SCHEDULED"]


def test_a_run_that_a_person_cancelled_is_not_started_again(installation: Installation, prefect: Desk) -> None:
    promote(installation, 1)
    start_scoring(installation)
    prefect.set_state("CANCELLED")
    assert start_scoring(installation) is None
    assert len(prefect.runs) == 1


def test_a_batch_that_a_killed_run_left_is_asked_for_though_the_champions_lists_are_shown(
    installation: Installation, prefect: Desk
) -> None:
    promote(installation, 1)
    show(installation.engine, 1, *ALL)
    assert start_scoring(installation) is None
    batch = leave_unfinished(installation.engine, 1, "email", "nightly")
    assert start_scoring(installation)
    [run] = prefect.runs
    assert run["parameters"] == {"placements": ["email"]}
    assert run["idempotency_key"].endswith(f"email, batch {batch}, run 1")


def test_batches_that_were_refused_stopped_or_are_of_an_older_champion_are_left(
    installation: Installation, prefect: Desk
) -> None:
    leave_unfinished(installation.engine, 1, "home", "old")
    promote(installation, 2)
    show(installation.engine, 2, *ALL[1:])
    leave_unfinished(installation.engine, 2, "home", "bad", "refused")
    stopped = leave_unfinished(installation.engine, 2, "email", "stopped")
    with installation.engine.begin() as connection:
        row = recommendation_batches.c.batch_id == stopped
        connection.execute(update(recommendation_batches).where(row).values(detail="stopped by a person"))
    assert start_scoring(installation) is None
    assert prefect.runs == []


def test_lists_that_somebody_took_back_are_left_as_they_are_until_the_next_promotion(
    installation: Installation, prefect: Desk
) -> None:
    promote(installation, 2)
    show(installation.engine, 1, *ALL)
    show(installation.engine, 2, *ALL)
    with installation.engine.begin() as connection:
        first = "SELECT batch_id FROM recommendation_batches WHERE placement = 'home' AND model_version = 1"
        batch_state.restore_batch(connection, "home", connection.execute(text(first)).scalar_one(), "ann: odd")
    assert start_scoring(installation) is None
    assert prefect.runs == []
    with installation.engine.begin() as connection:
        connection.execute(text("UPDATE placements SET published_at = published_at - interval '1 hour'"))
    promote(installation, 3)
    start_scoring(installation)
    assert prefect.runs[0]["parameters"] == {"placements": ALL}


def test_nothing_is_asked_for_without_a_champion_or_deployment_soon_after_a_promotion_or_while_somebody_makes_lists(
    installation: Installation, prefect: Desk
) -> None:
    assert start_scoring(installation) is None
    promote(installation, 1, minutes=0.1)
    assert start_scoring(installation) is None
    with installation.engine.begin() as connection:
        connection.execute(update(promotions).values(promoted_at=datetime.now(UTC) - timedelta(minutes=5)))
    prefect.deployed = False
    assert start_scoring(installation) is None
    prefect.deployed = True
    with locked(installation.engine, batch_state.lock_name("email")):
        assert start_scoring(installation) is None
    assert prefect.runs == []
    assert start_scoring(installation)


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


def test_a_request_has_time_to_be_started_by_its_event_and_waits_for_the_first_deploy(
    installation: Installation, prefect: Desk, request_id: int
) -> None:
    prefect.deployed = False
    assert restart_retrain(installation) is None
    prefect.deployed = True
    with installation.engine.begin() as connection:
        connection.execute(text("UPDATE retrain_requests SET requested_at = now()"))
    assert restart_retrain(installation) is None
    assert (prefect.runs, found(installation, request_id).status) == ([], "requested")


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

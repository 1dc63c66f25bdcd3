"""After a promotion the lists are asked for once, of a Prefect that only writes down what it is asked."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from time import sleep
from typing import Any

import pytest
from sqlalchemy import Engine, insert, text, update

from infra.database.schema.schema import promotions, recommendation_batches
from infra.installation import Installation
from infra.locks import locked
from tasks.orchestration.alert_throttle import AlertThrottle
from tasks.reconciler.lost_runs import IdleRuns, start_scoring
from tasks.scoring import batch_state
from tests.published import published, shelf
from tests.recording_server import Prefect

ALL = ["home", "buy-again", "email", "similar-items", "goes-well-with"]


class Desk(Prefect):
    """Knows one deployment, its runs, and the events that were emitted."""

    def response(self, path: str, body: Any) -> Any:
        if path == "/api/deployments/name/score/score":
            return {"id": "d1"} if self.deployed else None
        if path == "/api/events":
            return {}
        if path.endswith("/set_state"):
            run = next(run for run in self.runs if run["id"] == path.split("/")[3])
            run["state"] = body["state"]
            return {}
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
    row = {
        "previous_promotion_id": version - 1,
        "model_version": version,
        "kind": "als",
        "metrics": {},
        "dataset_version": "v1",
    }
    row |= {"bundle": "b", "digest": "d", "actor": "a", "reason": "r"}
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


def test_lists_that_somebody_took_back_are_left_as_they_are(installation: Installation, prefect: Desk) -> None:
    promote(installation, 2)
    show(installation.engine, 1, *ALL)
    show(installation.engine, 2, *ALL)
    with installation.engine.begin() as connection:
        first = "SELECT batch_id FROM recommendation_batches WHERE placement = 'home' AND model_version = 1"
        batch_state.restore_batch(connection, "home", connection.execute(text(first)).scalar_one(), "ann: odd")
    assert start_scoring(installation) is None
    assert prefect.runs == []


def test_lists_that_were_taken_back_before_the_promotion_are_made_again(
    installation: Installation, prefect: Desk
) -> None:
    show(installation.engine, 1, *ALL)
    show(installation.engine, 2, *ALL)
    with installation.engine.begin() as connection:
        first = "SELECT batch_id FROM recommendation_batches WHERE placement = 'home' AND model_version = 1"
        batch_state.restore_batch(
            connection, "home", connection.execute(text(first)).scalar_one(), "ann: back to version 1"
        )
        connection.execute(text("UPDATE placements SET published_at = published_at - interval '1 hour'"))
    promote(installation, 3)
    start_scoring(installation)
    assert prefect.runs[0]["parameters"] == {"placements": ALL}


def test_a_person_who_just_promoted_has_time_to_score(installation: Installation, prefect: Desk) -> None:
    promote(installation, 1, minutes=0.1)
    assert start_scoring(installation) is None
    assert prefect.runs == []


def test_without_a_champion_or_a_deployment_nothing_is_asked_for(installation: Installation, prefect: Desk) -> None:
    assert start_scoring(installation) is None
    promote(installation, 1)
    prefect.deployed = False
    assert start_scoring(installation) is None
    assert prefect.runs == []


def test_while_somebody_makes_lists_nobody_else_is_asked_to(installation: Installation, prefect: Desk) -> None:
    promote(installation, 1)
    with locked(installation.engine, batch_state.lock_name("email")):
        assert start_scoring(installation) is None
    assert prefect.runs == []
    assert start_scoring(installation)

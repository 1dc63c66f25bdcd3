"""After a promotion the lists are asked for once, of a Prefect that only writes down what it is asked."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, insert, text

from infra.installation import Installation
from infra.schema import promotions
from tasks import publish
from tasks.ask_for_lists import ask_for_lists
from tasks.ledger import hold
from tests.ear import Prefect
from tests.published import published, shelf

ALL = ["home", "buy-again", "email", "similar-items", "goes-well-with"]


class Desk(Prefect):
    """Knows one deployment, and the runs that it was asked for."""

    def found(self, path: str, said: Any) -> Any:
        if path == "/api/deployments/name/score/score":
            return {"id": "d1"} if self.deployed else None
        if path == "/api/flow_runs/count":
            keys = said["flow_runs"]["idempotency_key"]["any_"]
            return sum(run["idempotency_key"] in keys for run in self.runs)
        assert path == "/api/deployments/d1/create_flow_run"
        self.runs.append(said)
        return {}


@pytest.fixture
def prefect() -> Iterator[Desk]:
    with Desk() as server:
        yield server


@pytest.fixture
def here(installation: Installation, prefect: Desk) -> Installation:
    """An installation whose Prefect that is."""
    return prefect.installed(installation)


def promote(here: Installation, version: int, minutes: float = 5) -> None:
    row = {"follows": version - 1, "model_version": version, "kind": "als", "metrics": {}, "dataset_version": "v1"}
    row |= {"bundle": "b", "digest": "d", "actor": "a", "reason": "r"}
    row["promoted_at"] = datetime.now(UTC) - timedelta(minutes=minutes)
    with here.engine.begin() as connection:
        connection.execute(insert(promotions).values(row))


def show(store: Engine, version: int, *names: str) -> None:
    for name in names:
        published(store, {"ann": [("i1", 1.0, "a")]}, shelf(f"v{version}", name, version, 1))


def test_after_a_promotion_all_placements_are_asked_for_once(here: Installation, prefect: Desk) -> None:
    promote(here, 1)
    assert ask_for_lists(here) == f"Lists of version 1 are being made for {', '.join(ALL)}."
    assert ask_for_lists(here) is None
    (run,) = prefect.runs
    assert run["parameters"] == {"placements": ALL}
    promote(here, 2)
    assert ask_for_lists(here)
    assert len(prefect.runs) == 2


def test_only_placements_without_the_champions_lists_are_asked_for(here: Installation, prefect: Desk) -> None:
    promote(here, 1)
    promote(here, 2)
    show(here.engine, 2, "home", "email", "similar-items")
    show(here.engine, 1, "buy-again")
    ask_for_lists(here)
    assert prefect.runs[0]["parameters"] == {"placements": ["buy-again", "goes-well-with"]}


def test_lists_that_somebody_took_back_are_left_as_they_are(here: Installation, prefect: Desk) -> None:
    promote(here, 2)
    show(here.engine, 1, *ALL)
    show(here.engine, 2, *ALL)
    with here.engine.begin() as connection:
        first = "SELECT batch_id FROM recommendation_batches WHERE placement = 'home' AND model_version = 1"
        publish.go_back(connection, "home", connection.execute(text(first)).scalar_one(), "ann: odd")
    assert ask_for_lists(here) is None
    assert prefect.runs == []


def test_lists_that_were_taken_back_before_the_promotion_are_made_anew(here: Installation, prefect: Desk) -> None:
    show(here.engine, 1, *ALL)
    show(here.engine, 2, *ALL)
    with here.engine.begin() as connection:
        first = "SELECT batch_id FROM recommendation_batches WHERE placement = 'home' AND model_version = 1"
        publish.go_back(connection, "home", connection.execute(text(first)).scalar_one(), "ann: back to version 1")
        connection.execute(text("UPDATE placements SET published_at = published_at - interval '1 hour'"))
    promote(here, 3)
    ask_for_lists(here)
    assert prefect.runs[0]["parameters"] == {"placements": ALL}


def test_whoever_just_promoted_has_time_to_score(here: Installation, prefect: Desk) -> None:
    promote(here, 1, minutes=0.1)
    assert ask_for_lists(here) is None
    assert prefect.runs == []


def test_without_a_champion_or_a_deployment_nothing_is_asked_for(here: Installation, prefect: Desk) -> None:
    assert ask_for_lists(here) is None
    promote(here, 1)
    prefect.deployed = False
    assert ask_for_lists(here) is None
    assert prefect.runs == []


def test_while_somebody_makes_lists_nobody_else_is_asked_to(here: Installation, prefect: Desk) -> None:
    promote(here, 1)
    with hold(here.engine, publish.lock("email")):
        assert ask_for_lists(here) is None
    assert prefect.runs == []
    assert ask_for_lists(here)

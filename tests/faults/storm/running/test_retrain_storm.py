"""Retraining is killed at each step and at any moment; the same command or the reconciler goes on."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mlflow import MlflowClient
from sqlalchemy import select, text

from infra.database.schema.schema import reviews
from infra.database.schema.trust_schema import trained_bundles
from infra.locks import is_locked
from infra.registry.connection import NAME
from models.errors import TailorbirdError
from models.primitives.json_types import JsonObject
from tasks.datasets.load_dataset import newest_version
from tasks.promotion.champion import CHALLENGER, CHAMPION
from tasks.promotion.review_requests import open_reviews
from tasks.reconciler.reconcile import reconcile_once
from tests.faults.storm.running.steps import KIND, TRAINING_STEPS, Work, new_households
from tests.flows.conftest import cut_shop
from tests.waiting import until

if TYPE_CHECKING:
    from conftest import CommandStorm, Desk, Shop

pytestmark = pytest.mark.faults

KILLS, LEASE = 16, "5"
MODELS = ("--model", "most_popular", "--model", KIND)
RETRAIN = ("retrain", *MODELS, "--minutes", "0.05", "--json")


@pytest.fixture
def impatient(stocked: Shop) -> Iterator[Shop]:
    """A shop whose runs may be silent for seconds only."""
    stocked.run("up", TAILORBIRD_RETRAIN_LEASE_SECONDS=LEASE)
    yield stocked
    stocked.run("up")


def requests(desk: Desk) -> list[JsonObject]:
    with desk.installation.engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM retrain_requests ORDER BY request_id")).mappings()
        return [dict(row) for row in rows]


def still_open(desk: Desk) -> list[JsonObject]:
    return [row for row in requests(desk) if row["status"] in ("requested", "running")]


def check(desk: Desk) -> None:
    """One champion, which MLflow shows; a version that was registered by half can be promoted by nobody."""
    reconcile_once()
    holder, aliases = desk.champion(), desk.registry.aliases()
    assert aliases[CHAMPION] == holder["model_version"]
    with desk.installation.engine.connect() as connection:
        waiting = [review["model_version"] for review in open_reviews(connection) if review["passed"]]
        reviewed = set(connection.execute(select(reviews.c.model_version)).scalars())
        known = set(connection.execute(select(trained_bundles.c.run_id)).scalars())
    assert aliases.get(CHALLENGER) == (waiting[0] if waiting else None)
    versions = MlflowClient(desk.installation.endpoints.mlflow_tracking_uri).search_model_versions(f"name = '{NAME}'")
    for version in versions:
        if int(version.version) not in reviewed:
            with pytest.raises(TailorbirdError):
                desk.decide(int(version.version), override=True)
    assert {version.run_id for version in versions if int(version.version) in reviewed} <= known
    assert desk.champion()["promotion_id"] == holder["promotion_id"]


def check_end(desk: Desk) -> None:
    """Assert that no run goes on and no lock is held."""
    check(desk)
    assert still_open(desk) == []
    client = MlflowClient(desk.installation.endpoints.mlflow_tracking_uri)
    experiment = client.get_experiment_by_name(NAME)
    assert experiment is not None
    query = f"attributes.status = 'RUNNING' AND tags.dataset_version = '{newest_version()}'"
    running = client.search_runs([experiment.experiment_id], query)
    assert [(run.info.run_name, run.data.tags) for run in running] == []
    assert not is_locked(desk.installation.engine, "the aliases in MLflow")


def versions_of(desk: Desk) -> Counter[str]:
    """Return the number of versions of each training run; tests of the desk register some twice."""
    client = MlflowClient(desk.installation.endpoints.mlflow_tracking_uri)
    return Counter(version.run_id for version in client.search_model_versions(f"name = '{NAME}'"))


def test_a_training_that_is_killed_at_any_step_leaves_no_version_that_could_be_promoted(
    desk: Desk, storm: CommandStorm, tmp_path: Path
) -> None:
    desk.decide(desk.ask(desk.version("most_popular")))  # every other model is better
    learning = Work(desk.installation, tmp_path, "tests.faults.storm.running.steps.learn")
    for place, step in enumerate(TRAINING_STEPS):
        with storm.round(place):
            seed, before = 1_000 * storm.seed + place, versions_of(desk)
            assert learning.stopped(seed, step).kill()
            storm.note("kills", f"at {step}")
            check(desk)
            learning.finish(seed)
            check_end(desk)
            made = versions_of(desk) - before
            assert list(made.values()) == [1], made


class Retraining:
    """One retraining of the shop on events that no earlier one has seen."""

    def __init__(self, desk: Desk, shop: Shop, storm: CommandStorm, span: float = 0.0) -> None:
        self.desk, self.shop, self.storm, self.span = desk, shop, storm, span

    def bring_events(self, folder: Path, number: int) -> None:
        self.shop.run("ingest", "complete_journey", str(cut_shop(folder, *new_households(number))))

    def kill_command(self) -> None:
        settings = {"TAILORBIRD_REVIEW": "auto"} if self.storm.chance(0.5) else {}
        with self.shop.begin(*RETRAIN, TAILORBIRD_RETRAIN_LEASE_SECONDS=LEASE, **settings) as command:
            self.storm.wait(self.span)
            self.storm.kill(command)

    def kill_successor(self) -> None:
        """Kill the run that the reconciler starts, too."""

        def begun() -> JsonObject | None:
            [request] = still_open(self.desk) or [None]
            return request if request is None or (request["fence"] > 1 and request["status"] == "running") else None

        if not still_open(self.desk):
            return
        request = until(lambda: begun() or not still_open(self.desk), 60, "nobody goes on")
        if isinstance(request, dict):
            self.storm.wait(self.span)
            if self.shop.kill_run(str(request["flow_run"])):
                self.storm.note("kills of the reconciler's run")

    def kill_server(self, name: str) -> None:
        """Stop a server and start it again; the command waits for it, or ends with a sentence."""
        with self.shop.begin(*RETRAIN, TAILORBIRD_RETRAIN_LEASE_SECONDS=LEASE) as command:
            self.storm.wait(self.span)
            self.shop.kill(name)
            self.storm.note(f"kills of {name}")
            self.storm.wait(self.span / 4)
            self.shop.run("up", TAILORBIRD_RETRAIN_LEASE_SECONDS=LEASE)
            code, out, err = command.ended()
        assert code in (0, 1), f"{out}\n{err}"
        assert "Traceback" not in out + err, err
        assert code == 0 or "tailorbird: " in err, err
        self.storm.note("ended well" if code == 0 else "ended with a sentence", err)

    def finish(self) -> None:
        """Wait until the retraining is over; then the same command must not be blocked."""
        until(lambda: not still_open(self.desk), 150, "the request stays open")
        result = self.shop.json(*RETRAIN[:-1])
        assert result["review"] is not None, result
        assert requests(self.desk)[-1]["status"] == "done"


def test_a_retraining_that_is_killed_at_any_moment_is_taken_up_and_blocks_no_other(
    impatient: Shop,
    desk: Desk,
    storm: CommandStorm,
    kills: Callable[[int], int],
    tmp_path: Path,
) -> None:
    wanted_kills, work = kills(KILLS), Retraining(desk, impatient, storm)
    work.bring_events(tmp_path / "first", 0)
    began = time.monotonic()
    impatient.json(*RETRAIN[:-1])
    work.span = time.monotonic() - began
    servers = iter(("mlflow", "prefect"))
    for number in count(2, 2):
        with storm.round(number):
            work.bring_events(tmp_path / f"round-{number}", number)
            work.kill_command()
            check(desk)
            if storm.chance(0.5):
                work.kill_successor()
                check(desk)
            until(lambda: not still_open(desk), 150, "the request stays open")
            if server := next(servers, None):
                work.bring_events(tmp_path / f"server-{number}", number + 1)
                work.kill_server(server)
                check(desk)
            work.finish()
            check_end(desk)
        if storm.done["kills"] + storm.done["kills of the reconciler's run"] >= wanted_kills:
            return

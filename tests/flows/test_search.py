"""Searches on the real servers: killed, shared, out of time, with settings that fail."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from mlflow import MlflowClient
from sqlalchemy import delete, text

from infra.database.schema.schema import search_results
from infra.installation import Installation
from models import catalog
from tasks.tuning.best_settings import find_search_result
from tasks.tuning.search_model import searchable

if TYPE_CHECKING:
    from conftest import Shop

PLOTS = {"history.png", "slices.png", "parallel_coordinates.png", "importance.png"}


def tried(installation: Installation, model: str) -> list[Any]:
    """Return the ended trials of all studies of a model."""
    query = text(
        "SELECT t.datetime_start, t.datetime_complete FROM optuna.trials t JOIN optuna.studies s USING (study_id)"
        " WHERE s.study_name LIKE :topic AND t.state IN ('COMPLETE', 'PRUNED') ORDER BY 1"
    )
    with installation.engine.connect() as connection:
        return list(connection.execute(query, {"topic": f"{model} on %"}))


def runs_under(installation: Installation, run_id: str) -> list[Any]:
    client = MlflowClient(installation.endpoints.mlflow_tracking_uri)
    experiment = client.get_run(run_id).info.experiment_id
    return list(client.search_runs([experiment], f"tags.mlflow.parentRunId = '{run_id}'"))


def fitting(version: str) -> list[psutil.Process]:
    """Return the processes that try settings on a data set."""
    words = ("tasks.tuning.trial_child", version)
    return [p for p in psutil.process_iter(["cmdline"]) if all(word in (p.info["cmdline"] or ()) for word in words)]


def test_a_search_that_is_killed_goes_on_where_it_stopped(stocked: Shop, live: Installation) -> None:
    options = ("search", "--model", "als", "--trials", "5")
    with stocked.begin(*options) as command:
        try:
            while len(tried(live, "als")) < 2:
                assert command.alive(), command.ended()
                time.sleep(0.1)
        finally:
            command.kill()
    (result,) = stocked.json(*options)
    assert (result["trials"], len(result["tried"]), len(tried(live, "als"))) == (5, 5, 5)
    assert not fitting(result["dataset_version"])

    runs = [run for run in runs_under(live, result["run_id"]) if run.info.status == "FINISHED"]
    assert len(runs) == 5
    best = max(
        (run for run in runs if run.data.tags["state"] == "COMPLETE"),
        key=lambda run: run.data.metrics["mean_ndcg_at_10"],
    )
    assert {name: float(value) for name, value in best.data.params.items()} == pytest.approx(result["best"])
    assert {"fit_seconds", "memory_mb", "artifact_mb", "coverage_at_10"} <= best.data.metrics.keys()
    assert {"git_commit", "dataset_version"} <= best.data.tags.keys()
    client = MlflowClient(live.endpoints.mlflow_tracking_uri)
    assert len(client.get_metric_history(best.info.run_id, "ndcg_at_10")) == 2  # one a fold
    assert {file.path.removeprefix("search/") for file in client.list_artifacts(result["run_id"], "search")} == PLOTS

    (run_id,) = stocked.json("train", "--model", "als")["runs"]
    trained = client.get_run(run_id)
    assert trained.data.tags["search_run"] == result["run_id"]
    assert result["page"] in trained.data.tags["mlflow.note.content"]
    assert trained.data.params["alpha"] == str(result["config"]["alpha"])
    with live.engine.begin() as connection:  # as if it had been killed before it could store what it found
        connection.execute(delete(search_results).where(search_results.c.model == "als"))
    assert stocked.json(*options)[0]["tried"] == result["tried"]  # a finished search has nothing more to try
    stored = find_search_result(live, result["dataset_version"], "als")
    assert stored is not None
    assert stored["config"] == result["config"]


def test_two_commands_share_one_search(stocked: Shop, live: Installation) -> None:
    options = ("search", "--model", "item_knn", "--method", "random", "--trials", "6", "--json")
    with stocked.begin(*options) as one, stocked.begin(*options) as other:
        ends = [command.ended() for command in (one, other)]
    assert [code for code, _, _ in ends] == [0, 0], ends
    times = tried(live, "item_knn")
    assert len(times) == 6
    assert any(later[0] < earlier[1] for earlier, later in pairwise(times))  # two at a time
    (result,) = stocked.json(*options[:-1])
    settings = [tuple(value for name, value in line.items() if name in result["best"]) for line in result["tried"]]
    assert len(set(settings)) == 6


def test_a_search_ends_with_its_time(stocked: Shop) -> None:
    began = time.monotonic()
    output = stocked.run("search", "--model", "two_stage", "--minutes", "0.03", code=1)
    assert time.monotonic() - began < 60
    assert "no setting was measured on all folds in the time there was" in output


def test_a_search_that_cannot_begin_names_the_reason(stocked: Shop) -> None:
    output = stocked.run("search", "--model", "als", "--dataset", "nope", code=1)
    assert "There is no data set 'nope'" in output
    assert "Traceback" not in output
    with pytest.raises(catalog.TailorbirdError, match="There is no model 'nothing'; choose one of"):
        searchable(["own_frequency", "nothing"])

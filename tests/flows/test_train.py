"""Training and searches on the real servers: pages in MLflow, the leaderboard, kills, and settings that fail."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from mlflow import MlflowClient
from sqlalchemy import delete, text

from infra.database.schema.schema import search_results
from infra.database.schema.trust_schema import trained_bundles
from infra.installation import Installation
from infra.registry.client import Registry
from models import catalog
from models.evaluation.metrics.mlflow_names import mlflow_name
from models.primitives.json_types import JsonObject
from serving.terminal import screen
from tasks.datasets.load_dataset import newest_version
from tasks.promotion.recorded_bundles import evaluations_of, recorded_all
from tasks.review.review_models import announce_compared, judge_candidate
from tasks.tuning.best_settings import find_search_result, store
from tasks.tuning.search_model import searchable
from tests.flows.forked import PICTURES
from tests.models.trainable import NEEDS_TORCH

if TYPE_CHECKING:
    from conftest import Shop

    from infra.installation import Installation

MODELS = ("most_popular", "own_frequency", "logistic_regression")
PLOTS = {"ndcg_spread", "overfit_check", "confusion_matrix", "residuals", "roc_curve"}
PLOTS |= {"precision_recall", "calibration", "feature_importance"}
PARENT = "mlflow.parentRunId"
CURVE = "learning_curve.png"
"""Models that are fitted fast enough have one."""
QUICK_SEQUENCE = {"dimensions": 8, "blocks": 1, "epochs": 2, "negatives": 50, "loss": "sampled", "validation_users": 20}
"""Settings with which the sequence model is fitted fast."""
FILES = {"per_user.parquet", "summary.json", "reranked.json", "tables.csv", "feature_importance.csv"}
SEARCH_PLOTS = {"history.png", "slices.png", "parallel_coordinates.png", "importance.png"}


@pytest.fixture(scope="module")
def trained(stocked: Shop) -> JsonObject:
    options = [part for kind in MODELS for part in ("--model", kind)]
    result: JsonObject = json.loads(stocked.run("train", *options, "--json", **{PICTURES: "drawn"}))
    return result


@pytest.fixture
def client(stocked: Shop, mlflow: Registry) -> MlflowClient:
    assert mlflow
    return MlflowClient(stocked.services.mlflow_tracking_uri)


def test_a_run_keeps_tables_plots_and_figures_with_their_intervals(trained: JsonObject, client: MlflowClient) -> None:
    run_id = trained["runs"][MODELS.index("logistic_regression")]
    stored = {file.path.removeprefix("evaluation/"): file for file in client.list_artifacts(run_id, "evaluation")}
    assert set(stored) - {CURVE} == FILES | {f"{plot}.png" for plot in PLOTS}
    assert all(file.file_size > 0 for file in stored.values())
    [further] = client.search_runs([client.get_run(run_id).info.experiment_id], f"tags.`{PARENT}` = '{run_id}'")
    figures = client.get_run(run_id).data.metrics | further.data.metrics
    for name in ("ndcg_at_10", "new_map_at_10", "roc_auc", "pairs_pr_auc", "pairs_brier", "gini_at_10", "overfit_gap"):
        low, value, high = (figures[mlflow_name(name + end)] for end in ("_low", "", "_high"))
        assert low <= value <= high, name


def test_a_training_run_lists_at_most_forty_metrics_in_named_groups(trained: JsonObject, client: MlflowClient) -> None:
    for run_id in trained["runs"]:
        metrics = client.get_run(run_id).data.metrics
        assert len(metrics) <= 40
        groups = {name.rpartition("/")[0] for name in metrics}
        assert {"accuracy", "baselines", "costs", "coverage"} <= groups
        assert groups <= {"accuracy", "baselines", "costs", "coverage", "fairness", "gate"}
        popular = metrics["baselines/most_popular_ndcg_at_10"]
        assert (popular == metrics["accuracy/ndcg_at_10"]) == (run_id == trained["runs"][0])


def test_a_run_and_the_prefect_run_that_made_it_lead_to_each_other_and_to_the_docs_of_the_data(
    trained: JsonObject, client: MlflowClient, stocked: Shop
) -> None:
    services = stocked.services
    tags = client.get_run(trained["runs"][MODELS.index("logistic_regression")]).data.tags
    page, flow_run = tags["prefect_run"].rsplit("/", 1)
    assert page == f"{services.prefect_page}/v2/runs/flow-run"
    assert stocked.prefect("GET", f"/flow_runs/{flow_run}")["name"]
    assert tags["data_docs"] == f"{services.docs_page}/{trained['dataset_version']}/"
    assert all(f"({tags[name]})" in tags["mlflow.note.content"] for name in ("prefect_run", "data_docs"))
    shown = {artifact["key"]: artifact["data"] for artifact in stocked.artifacts("training-run-%")}
    for kind, run_id in zip(MODELS, trained["runs"], strict=True):
        assert f"/runs/{run_id})" in shown[f"training-run-{kind.replace('_', '-')}"]


@pytest.mark.usefixtures("live")
def test_a_review_names_models_that_are_trained_already_now_and_left_out(trained: JsonObject) -> None:
    sentences, untrained = announce_compared(trained["dataset_version"], ["most_popular", "content_based"])
    assert f"Compared on {trained['dataset_version']}: most_popular (trained already); content_based (trained now)" in (
        sentences
    )
    assert "logistic_regression" in sentences.partition("Left out: ")[2]
    assert untrained == ["content_based"]


def test_models_are_validated_on_folds_before_the_test_weeks(
    stocked: Shop, client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--model", "own_frequency", "--model", "most_popular", "--folds", "3", "--horizon-days", "20")
    result = stocked.json("validate", *options)
    folds = result["models"]["own_frequency"]
    assert len(folds) == 3
    assert all(one["measured_until"] == other["measured_from"] for one, other in pairwise(folds))
    experiment = client.get_experiment_by_name("tailorbird")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], "attributes.run_name = 'validate own_frequency'")
    history = client.get_metric_history(run.info.run_id, "accuracy/ndcg_at_10")
    assert [point.value for point in sorted(history, key=lambda point: point.step)] == [
        pytest.approx(fold["ndcg_at_10"]) for fold in folds
    ]
    assert run.data.metrics["folds/ndcg_at_10_sd"] > 0
    screen.show("validation", result)
    output = capsys.readouterr().out
    assert "Mean ± sd over 3 folds" in output
    assert f"{run.data.metrics['folds/ndcg_at_10_mean']:.4f} ± {run.data.metrics['folds/ndcg_at_10_sd']:.4f}" in output


def test_a_run_that_training_did_not_record_is_trained_again(
    trained: JsonObject, stocked: Shop, live: Installation
) -> None:
    first = trained["runs"][MODELS.index("most_popular")]
    assert stocked.json("train", "--model", "most_popular")["runs"] == [first]
    with live.engine.begin() as connection:
        connection.execute(delete(trained_bundles).where(trained_bundles.c.run_id == first))
    [second] = stocked.json("train", "--model", "most_popular")["runs"]
    assert second != first


@NEEDS_TORCH
def test_the_sequence_model_is_trained_with_searched_settings_and_judged_like_any_other(
    stocked: Shop, live: Installation, client: MlflowClient
) -> None:
    searchable(["sequence"])
    found = {"dataset_version": newest_version(), "model": "sequence", "study": "sequence", "config": QUICK_SEQUENCE}
    store(live, {**found, "ndcg_10": 0.1, "trials": 1, "run_id": "1", "drift": None})
    result = stocked.json("train", "--model", "most_popular", "--model", "sequence")
    with live.engine.begin() as connection:
        connection.execute(delete(search_results).where(search_results.c.model == "sequence"))
    assert [row["model"] for row in result["ladder"]] == ["most_popular", "sequence"]
    recorded = recorded_all(live.engine, result["runs"])
    evaluations = evaluations_of(live.engine, Registry(live.endpoints.mlflow_tracking_uri), recorded)
    run_id = result["runs"][1]
    assert judge_candidate(run_id, None, evaluations, {key: one.kind for key, one in recorded.items()}).checks
    run = client.get_run(run_id).data
    assert {name: run.params[name] for name in QUICK_SEQUENCE} == {
        name: str(value) for name, value in QUICK_SEQUENCE.items()
    }
    curves = [name for name in run.metrics if name.startswith("epochs/") and name.endswith("_loss")]
    assert len(curves) >= 2  # up to the test weeks, and on all data
    assert {len(client.get_metric_history(run_id, name)) for name in curves} == {QUICK_SEQUENCE["epochs"]}


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
    assert {
        file.path.removeprefix("search/") for file in client.list_artifacts(result["run_id"], "search")
    } == SEARCH_PLOTS

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

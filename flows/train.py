"""Trains models."""

from prefect import flow

from models.primitives.json_types import JsonObject
from models.recommenders.kinds import DEFAULTS
from tasks.datasets.load_dataset import newest_version
from tasks.orchestration import run_names
from tasks.orchestration.form_fields import Models
from tasks.orchestration.run_artifacts import announce, show_leaderboard
from tasks.training.train_model import compare_models, train_model
from tasks.tuning.best_settings import unsearched

MODELS = [*DEFAULTS]


@flow(flow_run_name=run_names.flow_run_name(run_names.of_models("train")))
def train(dataset_version: str | None = None, models: Models = MODELS) -> JsonObject:
    """Train models on a data set, each as a run in MLflow with its figures on the test weeks.

    Returns the ids of the runs and a leaderboard, the simplest model first.

    Args:
        dataset_version: The data set; by default the newest.
        models: Kinds of model to train. Simple ones belong in every comparison.
    """
    version = dataset_version or newest_version()
    run_ids = [train_model(version, kind) for kind in models]
    rows = compare_models(run_ids)
    announce(unsearched(version, models))
    show_leaderboard(version, rows)
    return {"dataset_version": version, "runs": run_ids, "ladder": rows}

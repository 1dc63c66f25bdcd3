"""Cross-validates models."""

from typing import Any

from prefect import flow

from flows.train import MODELS
from tasks.datasets.load_dataset import newest_version
from tasks.orchestration import run_names
from tasks.orchestration.form_fields import Models
from tasks.orchestration.run_artifacts import show_folds
from tasks.training.validate_model import validate_model


@flow(flow_run_name=run_names.flow_run_name(run_names.of_models("validate")))
def validate(
    dataset_version: str | None = None, models: Models = MODELS, folds: int = 4, horizon_days: int | None = None
) -> dict[str, Any]:
    """Measure models on several stretches of time before the test weeks, each time learned from all that came before.

    Returns the figures of each fold by model, oldest first; each model is a run in MLflow.

    Args:
        dataset_version: The data set; by default the newest.
        models: Kinds of model to validate.
        folds: How many stretches; the last one ends where the test weeks begin.
        horizon_days: Days of each stretch; by default as many as the test has.
    """
    version = dataset_version or newest_version()
    found = {kind: validate_model(version, kind, folds, horizon_days) for kind in models}
    show_folds(version, found)
    return {"dataset_version": version, "models": found}

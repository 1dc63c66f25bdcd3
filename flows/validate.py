"""Cross-validates models."""

from prefect import flow

from flows.train import MODELS
from models.primitives.json_types import JsonObject
from tasks.datasets.load_dataset import newest_version
from tasks.orchestration import run_names
from tasks.orchestration.form_fields import Models
from tasks.orchestration.run_artifacts import show_folds
from tasks.training.train_model import validate_model


@flow(flow_run_name=run_names.flow_run_name(run_names.of_models("validate")))
def validate(
    dataset_version: str | None = None, models: Models = MODELS, folds: int = 4, horizon_days: int | None = None
) -> JsonObject:
    """Measure models on several time periods before the test weeks, each time trained on all earlier events.

    Returns the figures of each fold by model, oldest first; each model is a run in MLflow.

    Args:
        dataset_version: The data set; by default the newest.
        models: Kinds of model to validate.
        folds: How many time periods; the last one ends at the start of the test weeks.
        horizon_days: The days of each period; by default as many as the test has.
    """
    version = dataset_version or newest_version()
    figures = {kind: validate_model(version, kind, folds, horizon_days) for kind in models}
    show_folds(version, figures)
    return {"dataset_version": version, "models": figures}

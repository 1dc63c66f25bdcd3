"""Trains models."""

from prefect import flow

from tasks.load_dataset import newest_version
from tasks.report import show_runs
from tasks.train_model import train_model

MODELS = ["most_popular", "own_frequency", "lightfm_hybrid"]


@flow
def train(dataset_version: str | None = None, models: list[str] = MODELS) -> list[str]:
    """Train models on a data set, each a run in MLflow with its figures on the test weeks; returns the runs' ids.

    Args:
        dataset_version: The data set; by default the newest.
        models: Kinds of model to train. Simple ones belong in every comparison.
    """
    version = dataset_version or newest_version()
    run_ids = [train_model(version, kind) for kind in models]
    show_runs(f"Models on {version}", run_ids)
    return run_ids

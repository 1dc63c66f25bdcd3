"""Asks for a decision."""

from typing import Any

from prefect import flow

from flows.train import MODELS
from tasks.load_dataset import newest_version
from tasks.report import show, show_ladder
from tasks.review_models import review_models
from tasks.train_model import train_model


@flow
def review(dataset_version: str | None = None, models: list[str] = MODELS) -> dict[str, Any]:
    """Compare models on the same test weeks; the best becomes the challenger if it passes the gate. Promotes nothing.

    Args:
        dataset_version: The data set; by default the newest.
        models: Kinds of model to compare; one that is not trained on this data set yet is trained now.
    """
    version = dataset_version or newest_version()
    run_ids = [train_model(version, kind) for kind in models]
    result = review_models(version, run_ids)
    show_ladder(version, result["ladder"])
    show("gate", f"Version {result['model_version']}: {result['status']}", result["gate"])
    return result

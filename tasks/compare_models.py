"""Holds trained models against each other."""

from typing import Any

from prefect import task

from infra.installation import current
from infra.registry import Registry
from models.evaluation.ladder import ladder
from tasks.store_evaluation import evaluation_of


@task(description="Hold trained models against each other, user by user.")
def compare_models(run_ids: list[str]) -> list[dict[str, Any]]:
    """The ladder of these training runs, each with the address of its `run`'s page."""
    registry = Registry(current().endpoints.mlflow_tracking_uri)
    runs = {str(registry.run(run_id).data.tags["kind"]): run_id for run_id in run_ids}
    rows = ladder({kind: evaluation_of(registry, run_id) for kind, run_id in runs.items()})
    return [{**row, "run": registry.page(runs[row["model"]])} for row in rows]

"""Compares trained models with each other."""

from prefect import task

from infra.installation import current
from infra.registry.client import Registry
from models.evaluation.comparison.leaderboard import leaderboard
from models.primitives.json_types import JsonObject
from tasks.orchestration.pseudonym_key_guard import hold_pseudonym_key
from tasks.promotion.recorded_bundles import recorded_all
from tasks.promotion.verified_evaluations import evaluations_of


@task(description="Compare trained models with each other, user by user.")
@hold_pseudonym_key
def compare_models(run_ids: list[str]) -> list[JsonObject]:
    """Return the leaderboard of these training runs; `run` is the address of each run's page."""
    installation = current()
    registry = Registry(installation.endpoints.mlflow_tracking_uri)
    runs = {trained.kind: trained for trained in recorded_all(installation.engine, run_ids).values()}
    rows = leaderboard(evaluations_of(installation.engine, registry, runs))
    return [{**row, "run": registry.page(runs[str(row["model"])].run_id)} for row in rows]

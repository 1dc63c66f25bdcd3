"""Searches settings."""

from typing import Any

from prefect import flow

from tasks.load_dataset import newest_version
from tasks.report import show
from tasks.search_model import search_model

TRIALS = {"own_frequency": 6}
"""A small budget for what is fitted in no time, so that a first run takes seconds."""


@flow
def search(dataset_version: str | None = None, trials: dict[str, int] = TRIALS) -> list[dict[str, Any]]:
    """Search the best settings of models on the validation weeks; `train` uses what is found.

    Args:
        dataset_version: The data set; by default the newest.
        trials: How many settings to try, by model.
    """
    version = dataset_version or newest_version()
    found = [search_model(version, kind, count) for kind, count in trials.items()]
    rows = [
        {"model": r["model"], "ndcg_at_10": round(r["ndcg_10"], 4), "trials": r["trials"], **r["config"]} for r in found
    ]
    show("best-settings", f"Best settings on {version}", rows)
    return found

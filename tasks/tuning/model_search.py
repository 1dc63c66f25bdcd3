"""The result of a search of one model, which commands print and Prefect stores."""

from datetime import datetime
from typing import NotRequired, TypedDict

from models.primitives.json_types import JsonObject


class ModelSearch(TypedDict):
    """The result of a search with its trials, as commands and pages show it."""

    dataset_version: str
    model: str
    study: str
    config: JsonObject
    ndcg_10: float
    trials: int
    run_id: str | None
    finished_at: NotRequired[datetime]
    drift: NotRequired[float | None]
    page: str
    best: JsonObject
    skipped: list[str]
    """Plots for which no time was left."""
    storing: float
    """Seconds that storing the result took."""
    defaults: float | None
    """NDCG@10 of the default settings."""
    tried: list[JsonObject]

"""The result of a search of one model, which commands print and Prefect stores."""

from infra.database.schema.promotion_rows import SearchResult
from models.primitives.json_types import JsonObject


class ModelSearch(SearchResult):
    """The result of a search with its trials, as commands and pages show it."""

    page: str
    best: JsonObject
    skipped: list[str]
    """Plots for which no time was left."""
    storing: float
    """Seconds that storing the result took."""
    defaults: float | None
    """NDCG@10 of the default settings."""
    tried: list[JsonObject]

"""Types of batches of lists as they are stored."""

from datetime import datetime
from typing import NotRequired, TypedDict

from models.primitives.json_types import JsonObject

SegmentRow = TypedDict("SegmentRow", {"segment": str, "lists": int, "full": int, "kept from before": float | None})
"""Lists of the users of one segment, under the headings of their table."""


class BatchSummary(TypedDict):
    """Statistics of a batch, as JSON in its row; a batch that is being made has none of them."""

    coverage: NotRequired[float]
    gini: NotRequired[float]
    scores: NotRequired[list[float]]
    """Deciles of the scores in first places."""
    kept_from_before: NotRequired[float | None]
    """The mean share of a list that was on the list before."""
    short: NotRequired[dict[str, int]]
    """Short lists by the reason why they are short."""
    notes: NotRequired[list[str]]
    """Rules that match nothing."""
    segments: NotRequired[list[SegmentRow]]
    reasons: NotRequired[dict[str, float]]
    """The share of each kind of reason."""


class BatchRow(TypedDict):
    """A row of `recommendation_batches`."""

    batch_id: int
    placement: str
    subject_kind: str
    run_key: str
    model_version: int
    dataset_version: str
    k: int
    status: str
    fence: int
    users: int
    recommendations: int
    summary: BatchSummary
    detail: str | None
    created_at: datetime
    published_at: datetime | None
    rules_version: int
    operator_rules: JsonObject


class PublishedBatch(TypedDict):
    """The columns of a batch that a scoring run returns."""

    batch_id: int
    placement: str
    model_version: int
    dataset_version: str
    status: str
    users: int
    recommendations: int
    summary: BatchSummary

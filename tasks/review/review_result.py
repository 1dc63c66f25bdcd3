"""The result of a review, which the command prints and Prefect stores."""

from datetime import datetime
from typing import NotRequired, TypedDict

from infra.database.schema.promotion_rows import CheckRow, GroupRow
from models.primitives.json_types import JsonObject


class ReviewResult(TypedDict):
    """The reviewed version with its status and the compared models.

    If the champion stays there was no request for a decision, and only the required keys exist.
    """

    status: str
    model_version: int
    ladder: list[JsonObject]
    gate: list[CheckRow]
    report: NotRequired[str]
    trained: NotRequired[list[str]]
    """The kinds of model that were trained for this review."""
    champion: NotRequired[int | None]
    remark: NotRequired[str | None]
    review_id: NotRequired[int]
    dataset_version: NotRequired[str]
    run_id: NotRequired[str]
    digest: NotRequired[str]
    passed: NotRequired[bool]
    groups: NotRequired[list[GroupRow]]
    reference_promotion_id: NotRequired[int]
    requested_at: NotRequired[datetime]
    expires_at: NotRequired[datetime | None]
    decision: NotRequired[str | None]
    reviewer: NotRequired[str | None]
    reason: NotRequired[str | None]
    via: NotRequired[str | None]
    overridden: NotRequired[bool]
    decided_at: NotRequired[datetime | None]
    rolled_back: NotRequired[int | None]

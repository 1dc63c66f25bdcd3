"""The possible outcomes of a review, with the words that reviews and retrain requests record."""

from datetime import datetime
from enum import StrEnum
from typing import NotRequired, TypedDict

from infra.database.schema.promotion_rows import CheckRow, GroupRow
from models.primitives.json_types import JsonObject


class ReviewOutcome(StrEnum):
    """The outcome of a review, as retrain requests record it; `status` is the review's own word for it."""

    PROMOTED = "promoted"
    WAITING = "waits"
    REFUSED = "refused"
    CHAMPION_KEPT = "kept"
    """No candidate is better than the champion."""
    SWITCHED_OFF = "promotion is switched off"

    @property
    def status(self) -> str:
        """Return the outcome as the `status` of a review's result."""
        return _STATUS[self]


_STATUS = {
    ReviewOutcome.PROMOTED: "approved",
    ReviewOutcome.WAITING: "waits for a decision",
    ReviewOutcome.REFUSED: "refused by the gate",
    ReviewOutcome.CHAMPION_KEPT: "the champion stays",
    ReviewOutcome.SWITCHED_OFF: "promotion is switched off",
}
_OF_STATUS = {status: outcome for outcome, status in _STATUS.items()}


def outcome_of_status(status: str) -> ReviewOutcome | None:
    """Return the outcome of a review's status, or None for a decision of an earlier review."""
    return _OF_STATUS.get(status)


def leaves_lists(status: str) -> bool:
    """Return whether no new version became champion, so no new lists are needed yet."""
    return outcome_of_status(status) in (ReviewOutcome.WAITING, ReviewOutcome.REFUSED, ReviewOutcome.SWITCHED_OFF)


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

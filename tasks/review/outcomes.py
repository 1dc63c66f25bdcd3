"""The possible outcomes of a review, with the words that reviews and retrain requests record."""

from enum import StrEnum

from infra.database.schema.promotion_rows import Review
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


class ReviewResult(Review, total=False):
    """The row of the reviewed version with its status and the compared models.

    If the champion stays there was no request for a decision. Then only the status, the champion's version, the ladder
    and an empty gate exist.
    """

    status: str
    ladder: list[JsonObject]
    report: str
    trained: list[str]
    """The kinds of model that were trained for this review."""
    champion: int | None
    remark: str | None

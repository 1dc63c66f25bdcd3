"""Carries a person's yes or no."""

from typing import Any

from prefect import flow

from tasks.decide_review import decide_review
from tasks.report import show


@flow
def decide(
    approve: bool, reviewer: str, reason: str, model_version: int | None = None, override: bool = False
) -> dict[str, Any]:
    """Approve or reject the challenger. Approved, it becomes the champion, and its bundle answers from then on.

    Args:
        approve: Yes or no.
        reviewer: Who decides; it is written down.
        reason: Why; it is written down.
        model_version: The version in MLflow; by default the newest reviewed one.
        override: Promote it although the gate refused it; the reason is kept with the promotion.
    """
    decision = decide_review(model_version, approve, reviewer, reason, override)
    show("decision", f"Version {decision['model_version']}", [decision])
    return decision

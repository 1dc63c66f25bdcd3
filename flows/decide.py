"""Applies a person's decision."""

from prefect import flow

from tasks.orchestration import run_names
from tasks.orchestration.form_fields import Choice, Words
from tasks.orchestration.run_artifacts import DECISION, facts, show
from tasks.promotion.decide_review import DecisionResult, decide_review


@flow(flow_run_name=run_names.flow_run_name(run_names.decide))
def decide(
    decision: Choice, reviewer: Words, reason: Words, model_version: int | None = None, override: bool = False
) -> DecisionResult:
    """Approve or reject the challenger. An approved version becomes the champion and serves from then on.

    Args:
        decision: approve makes the version the champion; reject leaves the champion as it is.
        reviewer: The person who decides; it is recorded.
        reason: The reason; it is recorded.
        model_version: The version in MLflow; by default the newest reviewed one.
        override: Promote the version although the gate refused it. The promotion records the reason.
    """
    decided = decide_review(model_version, decision == "approve", reviewer, reason, override)
    show("decision", f"Version {decided['model_version']}", facts(decided, DECISION))
    return decided

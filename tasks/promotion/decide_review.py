"""Carries a person's decision: the promotion is one row in Postgres, the bundle is kept, the alias follows."""

from typing import Any

from prefect import task
from prefect.context import FlowRunContext

from infra.installation import current
from infra.registry.client import Registry
from tasks.promotion.apply_decision import apply_decision
from tasks.promotion.champion import current_champion
from tasks.promotion.review_requests import Decision, Review


@task(description="Write the decision down; on a yes, promote the version.")
def decide_review(
    model_version: int | None, approve: bool, reviewer: str, reason: str, override: bool = False, via: str = ""
) -> dict[str, Any]:
    """Approve or reject a reviewed version (by default the newest review's); returns what is decided now, and which
    version answers as `champion`. See `apply_decision` for what is refused."""
    installation = current()
    answer = Decision(approve, reviewer, reason, via or _via(), override)
    decided = apply_decision(installation, Registry(installation.endpoints.mlflow_tracking_uri), model_version, answer)
    with installation.engine.connect() as connection:
        champion = current_champion(connection)
    names = ("review_id", "dataset_version", "model_version", "passed", "decision", "reviewer", "reason", "overridden")
    found = {"champion": champion["model_version"] if champion else None, "remark": _remark(decided, answer)}
    return {name: decided[name] for name in names} | found


def _remark(decided: Review, answer: Decision) -> str | None:
    """Return a sentence if the decision had been made before for another reason or by another person."""
    if (decided["reviewer"], decided["reason"]) == (answer.reviewer, answer.reason):
        return None
    version = f"version {decided['model_version']}"
    return f"Nothing changed: {version} was {decided['decision']} before, and the new reason was not recorded."


def _via() -> str:
    """A run of the deployment was started from its form; any other by a command."""
    run = FlowRunContext.get()
    return "form" if run and run.flow_run and run.flow_run.deployment_id else "command"


def promotes_itself() -> bool:
    """Whether what passes the gate is promoted without a person."""
    return current().settings.review == "auto"

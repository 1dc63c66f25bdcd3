"""Applies a person's decision: the promotion is one row in Postgres, the bundle is stored, the alias is moved."""

from typing import NotRequired, cast

from prefect import task
from prefect.context import FlowRunContext

from infra.database.schema.promotion_rows import Review, ReviewedVersion
from infra.installation import current
from infra.registry.client import Registry
from tasks.promotion.apply_decision import apply_decision
from tasks.promotion.champion import current_champion
from tasks.promotion.review_requests import Decision


class DecisionResult(ReviewedVersion):
    """What is decided about a version now, and the version that is champion."""

    champion: int | None
    remark: NotRequired[str | None]


@task(description="Record the decision; after a yes, promote the version.")
def decide_review(
    model_version: int | None, approve: bool, reviewer: str, reason: str, override: bool = False, via: str = ""
) -> DecisionResult:
    """Approve or reject a reviewed version, by default the newest. `apply_decision` lists what is refused."""
    installation = current()
    decision = Decision(approve, reviewer, reason, via or _via(), override)
    registry = Registry(installation.endpoints.mlflow_tracking_uri)
    decided = apply_decision(installation, registry, model_version, decision)
    with installation.engine.connect() as connection:
        champion = current_champion(connection)
    row = {name: value for name, value in decided.items() if name in ReviewedVersion.__annotations__}
    version = champion["model_version"] if champion else None
    return cast(DecisionResult, row | {"champion": version, "remark": _remark(decided, decision)})


def _remark(decided: Review, decision: Decision) -> str | None:
    """Return a sentence if the decision had been made before for another reason or by another person."""
    if (decided["reviewer"], decided["reason"]) == (decision.reviewer, decision.reason):
        return None
    version = f"version {decided['model_version']}"
    return f"Nothing changed: {version} was {decided['decision']} before, and the new reason was not recorded."


def _via() -> str:
    """Return `form` for a run of the deployment, and `command` for any other run."""
    run = FlowRunContext.get()
    return "form" if run and run.flow_run and run.flow_run.deployment_id else "command"


def promotes_automatically() -> bool:
    """Return whether a version that passes the gate is promoted without a person."""
    return current().settings.review == "auto"

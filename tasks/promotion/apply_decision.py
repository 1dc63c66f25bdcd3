"""Applies a decision about a version. The first decision wins, wherever it was made."""

from infra.database.schema.promotion_rows import Review
from infra.database.schema.schema import DEADLINE
from infra.installation import Installation
from infra.overview import situation
from infra.registry.client import Registry
from models.errors import reason_fault
from models.gate.results import Outcome, stored_outcome
from tasks.promotion.champion import current_champion, sync_aliases
from tasks.promotion.mlflow_annotations import annotate_version
from tasks.promotion.promote import promote, promote_again
from tasks.promotion.review_requests import APPROVED, Decision, DecisionRefusedError, close, expire, review_of


def apply_decision(
    installation: Installation, registry: Registry, model_version: int | None, decision: Decision
) -> Review:
    """Approve or reject a reviewed version, by default the newest; returns the updated review.

    The same decision twice changes nothing, but a yes to a version that was rolled back promotes it again. Raises
    DecisionRefusedError if the gate refused the version and the decision does not override it, if another decision was
    made before, or if the champion changed since the review. The reconciler updates MLflow later if it is away.
    """
    with installation.engine.begin() as connection:
        expire(connection)
    review = review_of(installation, model_version)
    next_step = str(situation.step(installation.engine, installation.settings))
    _check(review, decision, installation.settings.review, next_step)
    if review["rolled_back"]:
        promote_again(installation, registry, review, decision)
    elif review["decision"]:
        _refuse_replaced(installation, review)
    elif decision.approve:
        promote(installation, registry, review, decision)
    else:
        with installation.engine.begin() as connection:
            close(connection, review, decision)
    decided = review_of(installation, review["model_version"])
    if registry.is_available:
        sync_aliases(installation.engine, registry)
        annotate_version(registry, decided)
    return decided


def _refuse_replaced(installation: Installation, review: Review) -> None:
    """Raise DecisionRefusedError for an approved version that a newer champion replaced."""
    with installation.engine.connect() as connection:
        champion = current_champion(connection)
    version = review["model_version"]
    if review["decision"] == APPROVED and champion and champion["model_version"] != version:
        raise DecisionRefusedError(
            f"Version {version} was approved by {review['reviewer']}, and version {champion['model_version']} replaced "
            "it since; nothing was changed. To go back: `tailorbird rollback model`, or move the alias `champion` in "
            f"MLflow to version {version}."
        )


def ensure_promotion_enabled(mode: str) -> None:
    """Raise DecisionRefusedError while promotion is switched off."""
    if mode == "never":
        raise DecisionRefusedError("Nothing is promoted while TAILORBIRD_REVIEW is `never`; set it to `manual`.")


def _check_recorded(review: Review) -> None:
    if not review["digest"] or not review["run_id"]:
        raise DecisionRefusedError(
            f"Version {review['model_version']} was reviewed before reviews recorded the digest of its bundle, so it "
            f"cannot be promoted: run `tailorbird review --dataset {review['dataset_version']}` again."
        )


def _check(review: Review, decision: Decision, mode: str, next_step: str = "") -> None:
    """Raise DecisionRefusedError for a decision that cannot be applied; the error names the `next_step`."""
    version, earlier = review["model_version"], review["decision"]
    if earlier:
        if earlier != decision.outcome:
            advice = "Next: `tailorbird review` asks again." if review.get("via") == DEADLINE else next_step
            raise DecisionRefusedError(
                f"Version {version} was {earlier} by {review['reviewer']}; a decision is not changed. {advice}".rstrip()
            )
        if not review.get("rolled_back"):
            return
    example = "better on new items" if decision.approve else "too few lists"
    if fault := reason_fault(decision.reason, f"version {version} is {decision.outcome}", example):
        raise DecisionRefusedError(fault)
    if decision.approve:
        ensure_promotion_enabled(mode)
        _check_recorded(review)
        _check_gate(review, decision)


def _check_gate(review: Review, decision: Decision) -> None:
    if review["passed"] or decision.override:
        return
    refused = [check for check in review["gate"] if stored_outcome(check) is Outcome.REFUSED]
    failed = "; ".join(f"{check['name']}: {check['detail']}" for check in refused)
    version = review["model_version"]
    raise DecisionRefusedError(
        f"The gate refused version {version}. {failed} To promote it all the same: "
        f'`tailorbird decide {version} --approve --override --reason "…"` (`override` in the form).'
    )

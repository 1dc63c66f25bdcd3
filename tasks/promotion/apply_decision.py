"""Carries a decision out, whoever made it and wherever it was said: the first one wins."""

from infra.database.schema.schema import DEADLINE
from infra.installation import Installation
from infra.overview import situation
from infra.registry.client import Registry
from models.gate.results import Outcome, outcome_of
from models.primitives.recorded_reasons import reason_fault
from tasks.promotion.champion import current_champion, sync_aliases
from tasks.promotion.mlflow_annotations import annotate_version
from tasks.promotion.promote import promote, promote_again
from tasks.promotion.review_requests import APPROVED, Decision, DecisionRefusedError, Review, close, expire, review_of


def apply_decision(
    installation: Installation, registry: Registry, model_version: int | None, answer: Decision
) -> Review:
    """Approve or reject a reviewed version, by default the newest; returns the review as it is now.

    The same decision twice changes nothing, but a yes to a version that was rolled back promotes it again. Raises
    DecisionRefusedError for a version that the gate refused unless it is overridden, for a changed mind, and when the
    champion changed since the review. MLflow is told if it answers: else the reconciler does it later.
    """
    with installation.engine.begin() as connection:
        expire(connection)
    review = review_of(installation, model_version)
    _check(
        review, answer, installation.settings.review, str(situation.step(installation.engine, installation.settings))
    )
    if review["rolled_back"]:
        promote_again(installation, registry, review, answer)
    elif review["decision"]:
        _refuse_replaced(installation, review)
    elif answer.approve:
        promote(installation, registry, review, answer)
    else:
        with installation.engine.begin() as connection:
            close(connection, review, answer)
    decided = review_of(installation, int(review["model_version"]))
    if registry.answers:
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
    """Raises DecisionRefusedError while nothing is promoted by anybody."""
    if mode == "never":
        raise DecisionRefusedError("Nothing is promoted while TAILORBIRD_REVIEW is `never`; set it to `manual`.")


def _check_recorded(review: Review) -> None:
    if not review["digest"] or not review["run_id"]:
        raise DecisionRefusedError(
            f"Version {review['model_version']} was reviewed before reviews recorded the digest of its bundle, so it "
            f"cannot be promoted: run `tailorbird review --dataset {review['dataset_version']}` again."
        )


def _check(review: Review, answer: Decision, mode: str, after: str = "") -> None:
    """Raise DecisionRefusedError for an answer that cannot be carried out; `after` is what may be done instead."""
    version, already = review["model_version"], review["decision"]
    if already:
        if already != answer.decision:
            then = "Next: `tailorbird review` asks again." if review.get("via") == DEADLINE else after
            raise DecisionRefusedError(
                f"Version {version} was {already} by {review['reviewer']}; a decision is not changed. {then}".rstrip()
            )
        if not review.get("rolled_back"):
            return
    example = "better on new items" if answer.approve else "too few lists"
    if fault := reason_fault(answer.reason, f"version {version} is {answer.decision}", example):
        raise DecisionRefusedError(fault)
    if answer.approve:
        ensure_promotion_enabled(mode)
        _check_recorded(review)
    if answer.approve and not review["passed"] and not answer.override:
        refused = [check for check in review["gate"] if outcome_of(check) is Outcome.REFUSED]
        failed = "; ".join(f"{check['name']}: {check['detail']}" for check in refused)
        raise DecisionRefusedError(
            f"The gate refused version {version}. {failed} To promote it all the same: "
            f'`tailorbird decide {version} --approve --override --reason "…"` (`override` in the form).'
        )

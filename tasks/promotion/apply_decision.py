"""Applies a decision about a version. The first decision wins, wherever it was made."""

from math import isfinite
from typing import Final

from sqlalchemy import Connection, func, update
from sqlalchemy.dialects.postgresql import insert

from infra.bundles import bundle_store
from infra.bundles.manifest import BundleRefusedError, Manifest, read_signed
from infra.bundles.promoted import verify_promoted
from infra.database.schema.ledger_schema import audit_log
from infra.database.schema.promotion_rows import Promotion, Review
from infra.database.schema.schema import DEADLINE, promotions, reviews
from infra.installation import Installation
from infra.overview import situation
from infra.registry.client import Registry
from infra.registry.registered_bundles import check_files, check_version, downloaded_model
from models.errors import reason_fault
from models.gate.results import Outcome, stored_outcome
from models.primitives.json_types import JsonObject
from tasks.promotion.champion import Champion, current_champion, promotion_of, sync_aliases
from tasks.promotion.mlflow_annotations import annotate_version
from tasks.promotion.recorded_bundles import evaluation_of, recorded
from tasks.promotion.review_requests import (
    APPROVED,
    DECIDED,
    REJECTED,
    REJECTED_BEFORE,
    Decision,
    DecisionRefusedError,
    close,
    expire,
    review_of,
)


def promote(installation: Installation, registry: Registry, review: Review, decision: Decision) -> None:
    """Store the version's bundle, then replace the champion that the gate compared it with.

    Raises DecisionRefusedError if another version became champion or another decision came first, BundleRefusedError if
    MLflow holds another bundle than the reviewed one, and AlteredEvaluationError if MLflow holds other figures.
    """
    version = review["model_version"]
    with installation.engine.connect() as connection:
        _check_champion(current_champion(connection), review)
    check_version(registry, registry.version(version), review["run_id"])
    bundle, manifest = store_reviewed_bundle(installation, registry, review)
    row = {
        "previous_promotion_id": review["reference_promotion_id"],
        "model_version": version,
        "kind": manifest.kind,
        "dataset_version": review["dataset_version"],
        "metrics": _figures(installation, registry, review["run_id"]),
        "bundle": bundle,
        "digest": review["digest"],
        "run_id": review["run_id"],
        "gate": review["gate"],
        "overridden": not review["passed"],
    }
    with installation.engine.begin() as connection:
        close(connection, review, decision)
        _insert(connection, row, decision)


def promote_again(installation: Installation, registry: Registry, review: Review, decision: Decision) -> None:
    """Promote a version that was rolled back, after the checks of a promotion.

    Raises the errors of `promote`.
    """
    version = review["model_version"]
    check_version(registry, registry.version(version), review["run_id"])
    check_files(registry, review["run_id"], review["digest"])
    with installation.engine.begin() as connection:
        champion, earlier = current_champion(connection), promotion_of(connection, version)
        assert champion is not None
        assert earlier is not None
        close(connection, review, decision)  # refused if the champion is a newer version by now
        restore(connection, champion, earlier, decision)


def store_reviewed_bundle(installation: Installation, registry: Registry, review: Review) -> tuple[str, Manifest]:
    """Store the bundle of the reviewed run; returns its folder or address, and its manifest, the reviewed one."""
    with downloaded_model(registry, review["run_id"]) as folder:
        bundle = bundle_store.keep(installation.settings, folder, review["digest"])
        manifest = read_signed(folder, review["digest"])
    if manifest.run_id != review["run_id"]:
        raise BundleRefusedError(
            f"The reviewed bundle of version {review['model_version']} comes from the run {manifest.run_id}, not "
            f"from {review['run_id']}. Run `tailorbird review` again."
        )
    return bundle, manifest


def _figures(installation: Installation, registry: Registry, run_id: str) -> dict[str, float]:
    """Return the figures that training measured; runs of older versions have none. Raises AlteredEvaluationError.

    Metrics of a run in MLflow are not read, because every user of MLflow can log them again.
    """
    trained = recorded(installation.engine, run_id)
    figures = evaluation_of(registry, run_id, trained.evaluation_digest).summary if trained else {}
    return {name: value for name, value in figures.items() if isfinite(value)}  # JSON has no NaN


_OF_VERSION: Final = (
    *("model_version", "kind", "dataset_version", "metrics", "bundle", "digest", "run_id", "gate", "overridden"),
)
"""What a promotion states about its version."""


def restore(connection: Connection, champion: Champion, earlier: Promotion, decision: Decision) -> None:
    """Promote the bundle of an earlier promotion again, in place of `champion`.

    Raises BundleRefusedError or DecisionRefusedError.
    """
    verify_promoted(earlier)
    row = {
        "previous_promotion_id": champion["promotion_id"],
        "restored_promotion_id": earlier["restored_promotion_id"] or earlier["promotion_id"],
    }
    _insert(connection, {name: earlier[name] for name in _OF_VERSION} | row, decision)


def _check_champion(champion: Champion | None, review: Review) -> None:
    if (champion["promotion_id"] if champion else 0) == review["reference_promotion_id"]:
        return
    now = f"version {champion['model_version']} answers now" if champion else "no version answers now"
    raise DecisionRefusedError(
        f"Version {review['model_version']} was compared with another champion: {now}. Run `tailorbird review` again."
    )


def _insert(connection: Connection, row: JsonObject, decision: Decision) -> None:
    values = row | {"actor": decision.reviewer, "reason": decision.reason, "via": decision.via}
    if connection.execute(insert(promotions).values(values).on_conflict_do_nothing()).rowcount != 1:
        raise DecisionRefusedError("Another version was promoted in the meantime. Check the champion, then try again.")


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


def reopen(installation: Installation, registry: Registry, version: int, actor: str, reason: str) -> Review:
    """Ask again about a rejected version; returns its open review.

    The rejection stays in `audit_log`, and as a warning among the gate's checks. Raises DecisionRefusedError for a
    version that is not rejected.
    """
    review = review_of(installation, version)
    if review["decision"] != REJECTED:
        state = f"was approved by {review['reviewer']}" if review["decision"] else "has no decision yet"
        next_step = situation.step(installation.engine, installation.settings)
        raise DecisionRefusedError(f"Version {version} {state}: only a rejected one is asked about again. {next_step}")
    answer: JsonObject = {name: str(value) for name, value in review.items() if name in DECIDED}
    detail = "{reviewer} at {decided_at:.16}: {reason}; ".format(**answer) + f"asked again by {actor}: {reason}"
    warning = {"name": REJECTED_BEFORE, "value": None, "limit": None, "outcome": Outcome.WARNING, "detail": detail}
    asked = {"requested_at": func.now(), "expires_at": func.now() + (reviews.c.expires_at - reviews.c.requested_at)}
    values = dict.fromkeys(DECIDED) | asked | {"gate": [*review["gate"], warning]}
    same = (reviews.c.model_version == version, reviews.c.decided_at == review["decided_at"])
    entry = {"action": "reopen a review", "subject": f"version {version}", "actor": actor, "reason": reason}
    with installation.engine.begin() as connection:
        if connection.execute(update(reviews).where(*same).values(values)).rowcount != 1:
            raise DecisionRefusedError(f"Version {version} was asked about again just now; look at it.")
        connection.execute(insert(audit_log).values(entry | {"detail": answer}))
    reopened = review_of(installation, version)
    if registry.is_available:
        sync_aliases(installation.engine, registry)
        annotate_version(registry, reopened)
    return reopened


def _refuse_replaced(installation: Installation, review: Review) -> None:
    """Raise DecisionRefusedError for an approved version that a newer champion replaced."""
    with installation.engine.connect() as connection:
        champion = current_champion(connection)
    version = review["model_version"]
    if review["decision"] == APPROVED and champion and champion["model_version"] != version:
        raise DecisionRefusedError(
            f"Version {version} was approved by {review['reviewer']}, and version {champion['model_version']} replaced "
            'it since; nothing was changed. To go back: `tailorbird rollback model --reason "worse lists"`, or move '
            f"the alias `champion` in MLflow to version {version}."
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
            if earlier == REJECTED:
                advice += f' To ask again about this version: `tailorbird review --again {version} --reason "…"`.'
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

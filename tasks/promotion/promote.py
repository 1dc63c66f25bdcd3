"""Makes a version the champion: its bundle is stored, then one row replaces the promotion that the reviewer saw."""

from math import isfinite
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from infra.bundles import bundle as bundles
from infra.bundles.manifest import BundleRefusedError, Manifest, read_signed
from infra.bundles.promoted import verify_promoted
from infra.database.schema.promotion_rows import Promotion, Review
from infra.database.schema.schema import promotions
from infra.installation import Installation
from infra.registry.client import Registry
from infra.registry.registered_bundles import check_files, check_version, downloaded_model
from models.primitives.json_types import JsonObject
from tasks.promotion.champion import Champion, current_champion, promotion_of
from tasks.promotion.recorded_bundles import recorded
from tasks.promotion.review_requests import Decision, DecisionRefusedError, close
from tasks.promotion.verified_evaluations import evaluation_of


def promote(installation: Installation, registry: Registry, review: Review, decision: Decision) -> None:
    """Store the version's bundle, then replace the champion that the gate compared it with.

    Raises DecisionRefusedError if another version became champion or another decision came first, BundleRefusedError if
    MLflow holds another bundle than the reviewed one, and AlteredEvaluationError if MLflow holds other figures.
    """
    version = review["model_version"]
    with installation.engine.connect() as connection:
        _check_champion(current_champion(connection), review)
    check_version(registry, registry.version(version), review["run_id"])
    bundle, manifest = _store_bundle(installation, registry, review)
    row = {
        "previous_promotion_id": review["reference_promotion_id"],
        "model_version": version,
        "kind": manifest.kind,
        "dataset_version": review["dataset_version"],
        "metrics": _figures(installation, registry, review["run_id"]),
        "bundle": str(bundle),
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


def _store_bundle(installation: Installation, registry: Registry, review: Review) -> tuple[Path, Manifest]:
    """Store the bundle of the reviewed run; returns its folder and its manifest, which is the reviewed one."""
    with downloaded_model(registry, review["run_id"]) as folder:
        bundle, _ = bundles.store_bundle(folder, installation.bundles, review["digest"])
    manifest = read_signed(bundle, review["digest"])
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


def restore(connection: Connection, champion: Champion, earlier: Promotion, decision: Decision) -> None:
    """Promote the bundle of an earlier promotion again, in place of `champion`.

    Raises BundleRefusedError or DecisionRefusedError.
    """
    verify_promoted(earlier)
    row = {
        "previous_promotion_id": champion["promotion_id"],
        "restored_promotion_id": earlier["restored_promotion_id"] or earlier["promotion_id"],
        "model_version": earlier["model_version"],
        "kind": earlier["kind"],
        "dataset_version": earlier["dataset_version"],
        "metrics": earlier["metrics"],
        "bundle": earlier["bundle"],
        "digest": earlier["digest"],
        "run_id": earlier["run_id"],
        "gate": earlier["gate"],
        "overridden": earlier["overridden"],
    }
    _insert(connection, row, decision)


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

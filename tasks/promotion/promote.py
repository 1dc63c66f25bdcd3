"""Makes a version the champion: its bundle is kept, then one row replaces the promotion that the reviewer saw."""

from math import isfinite
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from infra.bundles import bundle as bundles
from infra.bundles.manifest import BundleRefusedError, read_signed
from infra.bundles.promoted import verify_promoted
from infra.database.schema.schema import promotions
from infra.installation import Installation
from infra.registry.client import Registry
from infra.registry.registered_bundles import check_files, check_version, downloaded_model
from tasks.promotion.champion import Champion, current_champion, promotion_of
from tasks.promotion.recorded_bundles import recorded
from tasks.promotion.review_requests import Decision, DecisionRefusedError, Review, close
from tasks.promotion.verified_evaluations import evaluation_of

_COPIED = ("model_version", "kind", "dataset_version", "metrics", "bundle", "digest", "run_id", "gate", "overridden")


def promote(installation: Installation, registry: Registry, review: Review, answer: Decision) -> None:
    """Keep the version's bundle, then replace the champion that the gate compared it with.

    Raises DecisionRefusedError when that one answers no more, or somebody else decided first, BundleRefusedError when
    MLflow holds another bundle than the reviewed one, and AlteredEvaluationError when it holds other figures.
    """
    version = int(review["model_version"])
    with installation.engine.connect() as connection:
        _expect(current_champion(connection), review)
    check_version(registry, registry.version(version), review["run_id"])
    bundle, manifest = _kept(installation, registry, review)
    row = {
        "follows": review["against"],
        "model_version": version,
        "kind": manifest["kind"],
        "dataset_version": review["dataset_version"],
        "metrics": _figures(installation, registry, review["run_id"]),
        "bundle": str(bundle),
        "digest": review["digest"],
        "run_id": review["run_id"],
        "gate": review["gate"],
        "overridden": not review["passed"],
    }
    with installation.engine.begin() as connection:
        close(connection, review, answer)
        _enter(connection, row, answer)


def promote_again(installation: Installation, registry: Registry, review: Review, answer: Decision) -> None:
    """Let a version that was rolled back answer again, after the checks of a promotion.

    Raises what `promote` raises.
    """
    version = int(review["model_version"])
    check_version(registry, registry.version(version), review["run_id"])
    check_files(registry, review["run_id"], review["digest"])
    with installation.engine.begin() as connection:
        champion, earlier = current_champion(connection), promotion_of(connection, version)
        assert champion is not None
        assert earlier is not None
        close(connection, review, answer)  # refused if the champion is a newer version by now
        restore(connection, champion, earlier, answer)


def _kept(installation: Installation, registry: Registry, review: Review) -> tuple[Path, dict[str, Any]]:
    """Keep the bundle of the reviewed run; returns its folder and its manifest, which is the reviewed one."""
    with downloaded_model(registry, review["run_id"]) as folder:
        bundle, _ = bundles.store_bundle(folder, installation.bundles, review["digest"])
    manifest = read_signed(bundle, review["digest"]).content
    if manifest["run_id"] != review["run_id"]:
        raise BundleRefusedError(
            f"The reviewed bundle of version {review['model_version']} comes from the run {manifest['run_id']}, not "
            f"from {review['run_id']}. Run `tailorbird review` again."
        )
    return bundle, manifest


def _figures(installation: Installation, registry: Registry, run_id: str) -> dict[str, float]:
    """Return what training measured; metrics of a run in MLflow can be logged again by anybody who may log in.

    Empty for runs of older versions. Raises AlteredEvaluationError.
    """
    trained = recorded(installation.engine, run_id)
    figures = evaluation_of(registry, run_id, trained.evaluation_digest).summary if trained else {}
    # JSON has no word for what could not be measured.
    return {name: value for name, value in figures.items() if isfinite(value)}


def restore(connection: Connection, champion: Champion, earlier: Champion, answer: Decision) -> None:
    """Let an earlier promotion's bundle answer again, in place of `champion`. Raises BundleRefusedError or
    DecisionRefusedError."""
    verify_promoted(earlier)
    row = {name: earlier[name] for name in _COPIED}
    root = earlier["restores"] or earlier["promotion_id"]
    _enter(connection, row | {"follows": champion["promotion_id"], "restores": root}, answer)


def _expect(champion: Champion | None, review: Review) -> None:
    if (champion["promotion_id"] if champion else 0) == review["against"]:
        return
    now = f"version {champion['model_version']} answers now" if champion else "no version answers now"
    raise DecisionRefusedError(
        f"Version {review['model_version']} was held against another champion: {now}. Run `tailorbird review` again."
    )


def _enter(connection: Connection, row: dict[str, Any], answer: Decision) -> None:
    said = {"actor": answer.reviewer, "reason": answer.reason, "via": answer.via}
    if connection.execute(insert(promotions).values(row | said).on_conflict_do_nothing()).rowcount != 1:
        raise DecisionRefusedError("Another version was promoted in the meantime; look again who answers now.")

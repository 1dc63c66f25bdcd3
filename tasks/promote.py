"""Makes a version the champion: its bundle is kept, then one row replaces the promotion that the reviewer saw."""

from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from infra import bundles
from infra.installation import Installation
from infra.registry import MODEL_PATH, Registry
from infra.schema import promotions
from tasks.champion import Champion, champion
from tasks.reviews import Answer, DecisionRefusedError, Review, close

_COPIED = ("model_version", "kind", "dataset_version", "metrics", "bundle", "digest", "gate", "overridden")


def promote(here: Installation, registry: Registry, review: Review, answer: Answer) -> None:
    """Keep the version's bundle, then replace the champion that the gate compared it with.

    Raises DecisionRefusedError when that one answers no more, or somebody else decided first.
    """
    version = int(review["model_version"])
    with here.engine.connect() as connection:
        _expect(champion(connection), review)
    run = registry.run(str(registry.version(version).run_id))
    with TemporaryDirectory() as scratch:
        folder = registry.download(run.info.run_id, MODEL_PATH, Path(scratch))
        bundle, digest = bundles.keep(folder, here.bundles)
    row = {
        "follows": review["against"],
        "model_version": version,
        "kind": run.data.tags["kind"],
        "dataset_version": review["dataset_version"],
        # JSON has no word for what could not be measured.
        "metrics": {name: value for name, value in run.data.metrics.items() if isfinite(value)},
        "bundle": str(bundle),
        "digest": digest,
        "gate": review["gate"],
        "overridden": not review["passed"],
    }
    with here.engine.begin() as connection:
        close(connection, review, answer)
        _enter(connection, row, answer)


def restore(connection: Connection, holder: Champion, earlier: Champion, answer: Answer) -> None:
    """Let an earlier promotion's bundle answer again, in place of `holder`. Raises BundleRefusedError or
    DecisionRefusedError."""
    bundles.verify(Path(earlier["bundle"]), earlier["digest"])
    row = {name: earlier[name] for name in _COPIED}
    root = earlier["restores"] or earlier["promotion_id"]
    _enter(connection, row | {"follows": holder["promotion_id"], "restores": root}, answer)


def _expect(holder: Champion | None, review: Review) -> None:
    if (holder["promotion_id"] if holder else 0) == review["against"]:
        return
    now = f"version {holder['model_version']} answers now" if holder else "no version answers now"
    raise DecisionRefusedError(
        f"Version {review['model_version']} was held against another champion: {now}. Run `tailorbird review` again."
    )


def _enter(connection: Connection, row: dict[str, Any], answer: Answer) -> None:
    said = {"actor": answer.reviewer, "reason": answer.reason, "via": answer.via}
    if connection.execute(insert(promotions).values(row | said).on_conflict_do_nothing()).rowcount != 1:
        raise DecisionRefusedError("Another version was promoted in the meantime; look again who answers now.")

"""Carries a person's decision: the promotion is one row in Postgres, the bundle is kept, the alias follows."""

from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prefect import task
from sqlalchemy import Connection, func, update
from sqlalchemy.dialects.postgresql import insert

from infra import bundles
from infra.installation import Installation, current
from infra.registry import MODEL_PATH, Registry
from infra.schema import promotions, reviews
from models.errors import TailorbirdError
from tasks.champion import champion, follow
from tasks.review_models import Review, announce, review_of

APPROVED, REJECTED = "approved", "rejected"


class DecisionRefusedError(TailorbirdError):
    """A decision that cannot be carried out."""


def _check(review: Review, decision: str) -> None:
    version, already = review["model_version"], review["decision"]
    if already and already != decision:
        raise DecisionRefusedError(
            f"Version {version} was {already} by {review['reviewer']}; a decision is not changed."
        )
    if decision == APPROVED and not review["passed"]:
        raise DecisionRefusedError(f"The gate refused version {version}; read its reasons in MLflow and train another.")


@task(description="Write the decision down; on a yes, promote the version.")
def decide_review(model_version: int | None, approve: bool, reviewer: str, reason: str) -> dict[str, Any]:
    """Approve or reject a reviewed version (by default the newest review's); returns what is decided now.

    The same decision twice changes nothing. Raises DecisionRefusedError for a version that the gate refused, for a
    changed mind, and when somebody else promoted another version in the meantime.
    """
    here = current()
    registry = Registry(here.endpoints.mlflow_tracking_uri)
    decision = APPROVED if approve else REJECTED
    review = review_of(here, model_version)
    _check(review, decision)
    version = int(review["model_version"])
    if not review["decision"]:
        if approve:
            _promote(here, registry, review, reviewer, reason)
        else:
            with here.engine.begin() as connection:
                _close(connection, version, REJECTED, reviewer, reason)
    follow(here.engine, registry)
    decided = review_of(here, version)
    announce(registry, decided)
    return {name: value for name, value in decided.items() if name != "gate"}


def _close(connection: Connection, version: int, decision: str, reviewer: str, reason: str) -> None:
    mine = (reviews.c.model_version == version, reviews.c.decision.is_(None))
    made = {"decision": decision, "reviewer": reviewer, "reason": reason, "decided_at": func.now()}
    if connection.execute(update(reviews).where(*mine).values(made)).rowcount != 1:
        raise DecisionRefusedError(f"Version {version} was decided by somebody else just now; look at it again.")


def _promote(here: Installation, registry: Registry, review: Review, reviewer: str, reason: str) -> None:
    """Keep the version's bundle, then replace the champion that the reviewer saw: another one in between wins."""
    version = int(review["model_version"])
    with here.engine.connect() as connection:
        holder = champion(connection)
    run = registry.run(str(registry.version(version).run_id))
    with TemporaryDirectory() as scratch:
        folder = registry.download(run.info.run_id, MODEL_PATH, Path(scratch))
        bundle, digest = bundles.keep(folder, here.bundles)
    row = {
        "follows": holder["promotion_id"] if holder else 0,
        "model_version": version,
        "kind": run.data.tags["kind"],
        "dataset_version": review["dataset_version"],
        # JSON has no word for what could not be measured.
        "metrics": {name: value for name, value in run.data.metrics.items() if isfinite(value)},
        "bundle": str(bundle),
        "digest": digest,
        "actor": reviewer,
        "reason": reason,
    }
    with here.engine.begin() as connection:
        _close(connection, version, APPROVED, reviewer, reason)
        if connection.execute(insert(promotions).values(row).on_conflict_do_nothing()).rowcount != 1:
            raise DecisionRefusedError("Another version was promoted in the meantime; review again against it.")

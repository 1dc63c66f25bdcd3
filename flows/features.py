"""Builds a data set."""

from datetime import date

from prefect import flow

from models.datasets.acceptance import WARNED, Acceptance
from models.datasets.labels import Kind
from tasks.datasets.build_dataset import RebuiltDataset, build_dataset, rebuild_dataset, split_by
from tasks.datasets.load_dataset import DatasetManifest
from tasks.orchestration import run_names
from tasks.orchestration.run_artifacts import facts, show


@flow(flow_run_name=run_names.flow_run_name(run_names.features))
def features(
    as_of: date | None = None,
    validation_days: int | None = None,
    test_days: int | None = None,
    validation_from: date | None = None,
    test_from: date | None = None,
    shares: list[float] | None = None,
    label: Kind = "purchase",
    horizon_days: float | None = None,
    attribution_days: float = 1.0,
    weights: dict[str, float] | None = None,
    rebuild: str | None = None,
    accept: list[str] = [],  # noqa: B006 -- read, never changed
    reason: str = "",
    accepted_by: str = "",
) -> DatasetManifest | RebuiltDataset:
    """Build the data set that models learn from: features at three moments, named by the version of its events.

    Args:
        as_of: The first excluded day, from midnight UTC. By default the data set ends right after the newest purchase
            or refund; with days it ends at the midnight before that.
        validation_days: The number of days before the test days, on which searches are measured.
        test_days: The number of last days, on which models are compared and which no search sees.
        validation_from: Instead of days: the first day of the validation.
        test_from: Instead of days: the first day of the test.
        shares: Instead of both: the shares of the purchases, in order of time; by default 0.7, 0.15 and 0.15.
        label: The action to predict: a step to the purchase, or engagement of any kind.
        horizon_days: How many days labels look ahead after a cut; by default up to the next cut.
        attribution_days: For how many days an impression gets credit for later actions.
        weights: The weight of each event type in engagement, below 0 for dislike; by default those of the features.
        rebuild: Build this data set again and compare it with the stored one, instead of a new one.
        accept: The checks that the data set may fail, by their names in the message of a refusal.
        reason: Why these checks may fail; it is recorded with the data set.
        accepted_by: The person who accepts; it is recorded too.
    """
    if rebuild:
        compared = rebuild_dataset(rebuild)
        show("dataset", f"Data set {rebuild}, built again", facts(compared))
        return compared
    split = split_by(as_of, validation_days, test_days, validation_from, test_from, shares)
    labels = {"kind": label, "horizon_days": horizon_days, "attribution_days": attribution_days}
    accepted = Acceptance.of(accept, reason, accepted_by)
    manifest = build_dataset(split, labels | ({"weights": weights} if weights else {}), accepted)
    refunds = {f"refunds_{name}": count for name, count in manifest["refunds"].items()}
    show("dataset", f"Data set {manifest['version']}", facts(manifest["rows"] | refunds))
    show("traits", "Traits that are pooled, cut or left out", [{"trait": note} for note in manifest.get("traits", [])])
    warnings = [{"warning": text} for text in manifest.get("warnings", [])]
    show("dataset-warnings", f"Warnings about the data set. {WARNED}", warnings)
    show("dataset-accepted", "Checks that a person accepted", manifest.get("accepted", []))
    return manifest

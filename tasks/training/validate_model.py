"""Cross-validates a model over time, before the test weeks."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from prefect import task

from infra.configuration.version import git_commit
from infra.installation import current
from infra.registry.client import Registry
from models import catalog
from models.datasets.dataset import Dataset
from models.datasets.time_splits import Fold
from models.datasets.training_data import TrainingData
from models.evaluation.diagnostics.cross_validation import cross_validation_folds, mean_and_sd, measure
from models.evaluation.metrics.mlflow_names import grouped
from models.evaluation.metrics.ranking import METRIC
from models.primitives.json_types import JsonObject
from models.recommenders.protocols import Recommender
from tasks.datasets.load_dataset import open_dataset
from tasks.orchestration.guards import hold_pseudonym_key
from tasks.orchestration.progress import progress
from tasks.training.train_model import run_key, settings_of

PATH: Final = "validation"
FOLDS: Final = "folds.json"
Fit = Callable[[TrainingData], Recommender]


@task(
    task_run_name="validate {kind}",
    description="Fit and measure a model on several periods before the test weeks; log to MLflow.",
)
@hold_pseudonym_key
def validate_model(
    version: str, kind: str, folds: int, horizon_days: int | None = None, seed: int = 7
) -> list[dict[str, float]]:
    """Return the cuts (epoch s) and figures of each fold, oldest first; a finished run with the same key is reused.

    Settings are the best of a search, or the defaults. Raises SplitError if there is too little history.
    """
    installation = current()
    registry = Registry(installation.endpoints.mlflow_tracking_uri)
    settings, searched_by = settings_of(installation, version, kind)
    parameters = settings | {"folds": folds, "horizon_days": horizon_days}
    key = run_key(version, f"validate {kind}", parameters, seed)
    known = registry.finished_run(key)
    if known:
        return _stored(registry, known.run_id)
    dataset = open_dataset(version)
    planned = cross_validation_folds(dataset, folds, horizon_days)
    tags = {"dataset_version": version, "kind": kind, "git_commit": git_commit(), "stage": "validate"}
    tags |= {"search_run": searched_by, "seed": str(seed)}
    with registry.active_run(f"validate {kind}", key, parameters, tags) as run_id:
        _validate(registry, run_id, dataset, partial(_fit, kind, settings, seed), planned)
    return _stored(registry, run_id)


def _fit(kind: str, settings: JsonObject, seed: int, data: TrainingData) -> Recommender:
    return catalog.model_type(kind).fit(data, catalog.config(kind, settings), seed)


def _validate(registry: Registry, run_id: str, dataset: Dataset, fit: Fit, folds: Sequence[Fold]) -> None:
    """Log each fold as a step of the run's metrics, and means and standard deviations at the end."""
    all_figures = []
    with progress(f"cross-validate on {len(folds)} folds", len(folds)) as advance:
        for step, figures in enumerate(measure(fit, dataset, folds)):
            registry.log_steps(run_id, {step: grouped(figures)})
            all_figures.append(figures)
            advance(note=f"{METRIC} {figures[METRIC]:.4f}")
    registry.log(run_id, {f"folds/{name}": value for name, value in mean_and_sd(all_figures).items()})
    with TemporaryDirectory() as scratch:
        rows = [asdict(fold) | figures for fold, figures in zip(folds, all_figures, strict=True)]
        (Path(scratch) / FOLDS).write_text(json.dumps(rows, indent=1))
        registry.log_folder(run_id, Path(scratch), PATH)


def _stored(registry: Registry, run_id: str) -> list[dict[str, float]]:
    with TemporaryDirectory() as scratch:
        rows: list[dict[str, float]] = json.loads((registry.download(run_id, PATH, Path(scratch)) / FOLDS).read_text())
        return rows

"""Trains a model: measured on the test weeks, then fitted again on everything, stored as data and read back."""

import json
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

import numpy as np
from prefect import task

from infra.bundles import bundle
from infra.configuration.version import git_commit
from infra.installation import Installation, current
from infra.registry.client import MODEL_PATH, NOTE, Registry
from models import catalog
from models.datasets.dataset import Dataset
from models.datasets.training_data import TrainingData
from models.evaluation.diagnostics.model_report import ModelReport
from models.evaluation.metrics.mlflow_names import grouped
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.metrics.user_averages import with_bounds
from models.lists.list_builder import ListBuilder
from models.lists.model_cascade import build_cascade
from models.lists.rules.compiled_rules import CompiledRules
from models.recommenders.baselines.most_popular import popularity
from models.recommenders.baselines.segment_popular import BY_TRAITS, SegmentPopular
from models.recommenders.explanations.recent_buyers import recent_buyers
from models.recommenders.protocols import Recommender
from tasks.datasets.load_dataset import open_dataset
from tasks.orchestration.page_links import TRAINING, markdown, of_training, show_links
from tasks.orchestration.progress import progress
from tasks.orchestration.pseudonym_key_guard import hold_pseudonym_key
from tasks.promotion.recorded_bundles import TrainedBundle, record, recorded
from tasks.promotion.verified_evaluations import EVALUATION_PATH, evaluation_digest
from tasks.training.evaluation_artifacts import FORMAT as EVALUATION_FORMAT
from tasks.training.evaluation_artifacts import store_evaluation
from tasks.training.serving_cost import K, measure_costs
from tasks.tuning.best_settings import find_settings


def run_key(version: str, kind: str, settings: dict[str, Any], seed: int) -> str:
    """Names a training by all that decides its result, so that a repeat finds the first one's run."""
    said = json.dumps([version, kind, settings, seed, bundle.FORMAT, EVALUATION_FORMAT], sort_keys=True)
    return sha256(said.encode()).hexdigest()[:24]


def settings_of(installation: Installation, version: str, kind: str) -> tuple[dict[str, Any], str]:
    """The best settings that a search on a data set like this found, and its run; the defaults when there was none."""
    found = find_settings(installation, version, kind)
    if found is None:
        return asdict(catalog.config(kind)), ""
    return found["config"], str(found["run_id"])


def finished_run(installation: Installation, registry: Registry, key: str) -> str | None:
    """Return the run of an earlier training of this key, if there is one."""
    known = registry.finished_run(key)
    stored = recorded(installation.engine, known.run_id) if known else None
    own = known and stored and stored.run_key == key  # a run of anybody else may carry the same tag
    return known.run_id if known and own else None


@task(
    task_run_name="train {kind}",
    description="Fit, measure on the test weeks, fit on everything, log to MLflow.",
)
@hold_pseudonym_key
def train_model(version: str, kind: str, settings: dict[str, Any] | None = None, seed: int = 7) -> str:
    """Train one model on a data set; returns the id of its MLflow run. A finished run of the same kind is reused.

    The figures come from a fit that has seen nothing of the test weeks; the stored model has learned up to `as_of`.
    """
    installation = current()
    registry = Registry(installation.endpoints.mlflow_tracking_uri)
    found, searched_by = (settings, "") if settings is not None else settings_of(installation, version, kind)
    key = run_key(version, kind, found, seed)
    if known := finished_run(installation, registry, key):
        show_links({TRAINING: registry.page(known)}, kind)
        return known
    dataset = open_dataset(version)
    tags = {
        "dataset_version": version,
        "kind": kind,
        "git_commit": git_commit(),
        "stage": "train",
        "search_run": searched_by,
        "seed": str(seed),
    }
    origin = of_training(installation, registry, version, searched_by)
    with registry.active_run(kind, key, found, tags | origin | {NOTE: markdown(origin)}) as run_id:
        show_links({TRAINING: registry.page(run_id)}, kind)
        registry.log_dataset(run_id, version, dataset.manifest["content_hash"]["interactions"])
        digest, figures = _train(registry, run_id, dataset, kind, found, seed)
        record(installation.engine, TrainedBundle(run_id, key, kind, version, digest, figures))
    return run_id


def _train(
    registry: Registry, run_id: str, dataset: Dataset, kind: str, settings: dict[str, Any], seed: int
) -> tuple[str, str]:
    """Log a model and its figures to a run; returns the digests of both, taken before MLflow gets the files."""
    model, config = catalog.model_type(kind), catalog.config(kind, settings)

    def fit(data: TrainingData) -> Recommender:
        return model.fit(data, config, seed)

    with progress(f"train {kind}", 3) as advance:
        before = _known_at(dataset, dataset.cuts.test_from)
        started = monotonic()
        fitted = fit(before)
        fit_seconds = monotonic() - started
        advance(note="measured on the test weeks next")
        appraisal = ModelReport.of(fitted, dataset, before, fit, fit_seconds, seed)
        summary = appraisal.evaluation.summary
        evaluate_seconds = monotonic() - started - fit_seconds
        advance(note=f"{METRIC} {summary[METRIC]:.4f}, fitted on everything next")
        whole = _known_at(dataset, dataset.cuts.as_of)
        final = fit(whole)
        advance()
    origin = bundle.Origin(dataset.version, seed, run_id)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        segments = dataset.once((SegmentPopular.kind, seed), partial(SegmentPopular.fit, whole, BY_TRAITS, seed))
        stored = _store_model(folder / MODEL_PATH, final, whole, segments, origin)
        costs = {"fit_seconds": fit_seconds, "evaluate_seconds": evaluate_seconds}
        summary |= costs | measure_costs(_answers(stored), folder / MODEL_PATH)
        store_evaluation(folder / EVALUATION_PATH, appraisal, kind)
        figures = evaluation_digest(folder / EVALUATION_PATH)
        registry.log_folder(run_id, folder)
    registry.log(run_id, grouped(summary))
    for point in appraisal.curve:
        registry.log(run_id, grouped(with_bounds(f"learning_curve_{METRIC}", point.figure)), step=point.users)
    return stored.digest, figures


def _known_at(dataset: Dataset, cut: int) -> TrainingData:
    """Worked out once for all models that a flow trains."""
    return dataset.once(("known at", cut), partial(dataset.training_data, cut))


def _store_model(
    folder: Path, model: Recommender, data: TrainingData, segments: SegmentPopular, origin: bundle.Origin
) -> bundle.Bundle:
    """Write the bundle and open it again; a model that gives other scores then is never offered for review."""
    from infra.registry.mlmodel_files import mlflow_files

    described = mlflow_files(origin.run_id)
    digest = bundle.write(
        folder,
        model,
        popularity(data),
        origin,
        segments,
        available=data.available,
        buyers=recent_buyers(data),
        beside=described,
    )
    probe = np.arange(min(8, len(model.users)), dtype=np.int32)
    stored = bundle.load(folder, digest)
    if not np.array_equal(stored.model.scores(probe), model.scores(probe)):
        raise RuntimeError(f"{model.kind} gives other scores after it was stored and read back.")
    return stored


def _answers(stored: bundle.Bundle) -> ListBuilder:
    """Answer as the champion does at `home`, from the bundle alone."""
    in_order = build_cascade(stored.model, stored.segments, stored.fallback)
    return ListBuilder(in_order, stored.fallback, CompiledRules.plain(K, stored.available), stored.buyers)

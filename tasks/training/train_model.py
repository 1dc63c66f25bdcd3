"""Trains a model: measures it on the test weeks, fits it again on all data, and stores it as data."""

import json
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter
from typing import Final

import numpy as np
from numpy.typing import NDArray
from prefect import task

from infra.bundles import bundle
from infra.bundles.manifest import FORMAT, Origin
from infra.configuration.version import git_commit
from infra.installation import Installation, current
from infra.registry.client import MODEL_PATH, NOTE, Registry
from models import catalog
from models.datasets.dataset import Dataset
from models.datasets.training_data import TrainingData
from models.evaluation.diagnostics.model_report import ModelReport
from models.evaluation.metrics.mlflow_names import grouped
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.metrics.user_averages import HIGH, LOW, with_bounds
from models.lists.list_builder import USERS_AT_ONCE, ListBuilder
from models.lists.model_cascade import build_cascade
from models.lists.ranked_lists import Lists
from models.lists.rules.compiled_rules import CompiledRules
from models.primitives.json_types import JsonObject
from models.primitives.threads import one_thread
from models.recommenders.baselines.most_popular import popularity
from models.recommenders.baselines.segment_popular import BY_TRAITS, SegmentPopular
from models.recommenders.explanations.recent_buyers import recent_buyers
from models.recommenders.protocols import Recommender
from tasks.datasets.load_dataset import open_dataset
from tasks.orchestration.guards import hold_pseudonym_key
from tasks.orchestration.progress import progress
from tasks.orchestration.run_artifacts import TRAINING, markdown, of_training, show_links
from tasks.promotion.recorded_bundles import TrainedBundle, record, recorded
from tasks.promotion.verified_evaluations import EVALUATION_PATH, evaluation_digest
from tasks.scoring.publish_batch import TextCodes
from tasks.training.evaluation_artifacts import FORMAT as EVALUATION_FORMAT
from tasks.training.evaluation_artifacts import store_evaluation
from tasks.training.fit_by_epochs import Checkpoints, fit_by_epochs
from tasks.tuning.best_settings import find_settings

K: Final = 20
"""Length of the lists, as at the placement `home`."""
_ROUNDS: Final = 7
"""The range of seven times contains the median with a probability of 98 %: 1 - 2 / 2 ** 7."""


def run_key(version: str, kind: str, settings: JsonObject, seed: int) -> str:
    """Return a key of everything that decides the result of a training, so that a repeat finds the first run."""
    inputs = json.dumps([version, kind, settings, seed, FORMAT, EVALUATION_FORMAT], sort_keys=True)
    return sha256(inputs.encode()).hexdigest()[:24]


def settings_of(installation: Installation, version: str, kind: str) -> tuple[JsonObject, str]:
    """Return the best settings of a search on a similar data set and its run, or the defaults and no run."""
    result = find_settings(installation, version, kind)
    if result is None:
        return asdict(catalog.config(kind)), ""
    return result["config"], str(result["run_id"])


def finished_run(installation: Installation, registry: Registry, key: str) -> str | None:
    """Return the run of an earlier training of this key, if there is one."""
    known = registry.finished_run(key)
    stored = recorded(installation.engine, known.run_id) if known else None
    own = known and stored and stored.run_key == key  # every user of MLflow can set the same tag
    return known.run_id if known and own else None


@task(
    task_run_name="train {kind}",
    description="Fit, measure on the test weeks, fit on all data, log to MLflow.",
)
@hold_pseudonym_key
def train_model(version: str, kind: str, settings: JsonObject | None = None, seed: int = 7) -> str:
    """Train one model on a data set; returns the id of its MLflow run. A finished run with the same key is reused.

    The figures come from a fit without the test weeks; the stored model has learned from everything up to `as_of`.
    """
    installation = current()
    registry = Registry(installation.endpoints.mlflow_tracking_uri)
    chosen, searched_by = (settings, "") if settings is not None else settings_of(installation, version, kind)
    key = run_key(version, kind, chosen, seed)
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
    with registry.active_run(kind, key, chosen, tags | origin | {NOTE: markdown(origin)}) as run_id:
        show_links({TRAINING: registry.page(run_id)}, kind)
        registry.log_dataset(run_id, version, dataset.manifest["content_hash"]["interactions"])
        digest, figures = _train(registry, run_id, dataset, kind, chosen, seed)
        record(installation.engine, TrainedBundle(run_id, key, kind, version, digest, figures))
    return run_id


def _train(
    registry: Registry, run_id: str, dataset: Dataset, kind: str, settings: JsonObject, seed: int
) -> tuple[str, str]:
    """Log a model and its figures to a run; returns the digests of both, taken before the upload to MLflow."""
    model, config = catalog.model_type(kind), catalog.config(kind, settings)

    checkpoints = Checkpoints(current().settings.var, run_key(dataset.version, kind, asdict(config), seed))

    def fit(data: TrainingData) -> Recommender:
        return fit_by_epochs(model, data, config, seed, checkpoints, registry, run_id)

    with progress(f"train {kind}", 3) as advance:
        before = _known_at(dataset, dataset.cuts.test_from)
        started = monotonic()
        fitted = fit(before)
        fit_seconds = monotonic() - started
        advance(note="next: measure on the test weeks")
        appraisal = ModelReport.of(fitted, dataset, before, fit, fit_seconds, seed)
        summary = appraisal.evaluation.summary
        evaluate_seconds = monotonic() - started - fit_seconds
        advance(note=f"{METRIC} {summary[METRIC]:.4f}, next: fit on all data")
        whole = _known_at(dataset, dataset.cuts.as_of)
        final = fit(whole)
        advance()
    origin = Origin(dataset.version, seed, run_id)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        segments = dataset.once((SegmentPopular.kind, seed), partial(SegmentPopular.fit, whole, BY_TRAITS, seed))
        stored = _store_model(folder / MODEL_PATH, final, whole, segments, origin)
        costs = {"fit_seconds": fit_seconds, "evaluate_seconds": evaluate_seconds}
        summary |= costs | measure_costs(_list_builder(stored), folder / MODEL_PATH)
        store_evaluation(folder / EVALUATION_PATH, appraisal, kind)
        figures = evaluation_digest(folder / EVALUATION_PATH)
        registry.log_folder(run_id, folder)
    curve = {point.users: grouped(with_bounds(f"learning_curve_{METRIC}", point.figure)) for point in appraisal.curve}
    registry.log_steps(run_id, {0: grouped(summary), **curve})
    checkpoints.delete()
    return stored.digest, figures


def _known_at(dataset: Dataset, cut: int) -> TrainingData:
    """Return the training data before a cut, computed once for all models of a flow."""
    return dataset.once(("known at", cut), partial(dataset.training_data, cut))


def _store_model(
    folder: Path, model: Recommender, data: TrainingData, segments: SegmentPopular, origin: Origin
) -> bundle.Bundle:
    """Write the bundle and open it again; raises RuntimeError if the scores differ after that."""
    from infra.registry.mlmodel_files import mlflow_files

    model_files = mlflow_files(origin.run_id)
    digest = bundle.write(
        folder,
        model,
        popularity(data),
        origin,
        segments,
        available=data.available,
        buyers=recent_buyers(data),
        first_events=data.first_events(),
        beside=model_files,
    )
    probe = np.arange(min(8, len(model.users)), dtype=np.int32)
    stored = bundle.load(folder, digest)
    if not np.array_equal(stored.model.scores(probe), model.scores(probe)):
        raise RuntimeError(f"{model.kind} gives other scores after it was stored and read back.")
    return stored


def _list_builder(stored: bundle.Bundle) -> ListBuilder:
    """Return a list builder as for the champion at `home`, from the bundle alone."""
    in_order = build_cascade(stored.model, stored.segments, stored.fallback)
    return ListBuilder(in_order, stored.fallback, CompiledRules.plain(K, stored.available), stored.buyers)


def measure_costs(builder: ListBuilder, folder: Path) -> dict[str, float]:
    """Return `score_ms`, the milliseconds of one thread per list, with its interval, and `artifact_mb` of `folder`.

    The code of batch scoring makes the lists of one chunk of users, with candidates, rules, fallbacks and reasons. The
    first round loads libraries and fills caches, and does not count.
    """
    keys = _sample_users(builder)
    with one_thread():
        spent = [_seconds(builder, keys) for _ in range(1 + _ROUNDS)][1:]
    per_list = 1000 / max(1, len(keys))
    stored = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return {
        "score_ms": median(spent) * per_list,
        f"score_ms{LOW}": min(spent) * per_list,
        f"score_ms{HIGH}": max(spent) * per_list,
        "artifact_mb": stored / 1e6,
    }


def make_lists(builder: ListBuilder, keys: NDArray[np.str_]) -> list[Lists]:
    """Make the lists of users (sorted keys) as `tasks.scoring.user_lists` does, with the codes of their reasons."""
    codes = TextCodes()
    return [ranked.coded(codes.codes) for ranked in builder.build(keys)]


def _sample_users(builder: ListBuilder) -> NDArray[np.str_]:
    """Return one chunk of the model's users, taken at equal distances."""
    users = builder.cascade.models[0].users
    return users[np.unique(np.linspace(0, len(users) - 1, USERS_AT_ONCE).astype(int))] if len(users) else users


def _seconds(builder: ListBuilder, keys: NDArray[np.str_]) -> float:
    began = perf_counter()
    make_lists(builder, keys)
    return perf_counter() - began

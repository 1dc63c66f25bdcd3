"""Trains a model: measures it on the test weeks, fits it again on all data, and stores both; or cross-validates it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray
from prefect import task

from infra.bundles import bundle
from infra.bundles.manifest import FORMAT, Origin
from infra.configuration.version import git_commit
from infra.installation import Installation, current
from infra.registry.client import MODEL_PATH, NOTE, Registry
from models import catalog
from models.datasets.dataset import Dataset
from models.datasets.time_splits import Fold
from models.datasets.training_data import TrainingData
from models.evaluation.comparison import baseline_figures, leaderboard
from models.evaluation.cross_validation import cross_validation_folds, mean_and_sd, measure
from models.evaluation.metrics.bootstrap import HIGH, LOW, split_prefixes, with_bounds
from models.evaluation.metrics.mlflow_names import grouped
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.model_report import ModelReport
from models.evaluation.offline import Evaluation
from models.lists.list_builder import USERS_AT_ONCE, ListBuilder
from models.lists.model_cascade import build_cascade
from models.lists.ranked_lists import Lists
from models.lists.rules.compiled_rules import CompiledRules
from models.primitives.json_types import JsonObject
from models.primitives.threads import one_thread
from models.recommenders.baselines.most_popular import popularity, seasonal_change
from models.recommenders.baselines.segment_popular import BY_TRAITS, SegmentPopular
from models.recommenders.explanations.sentences import recent_buyers
from models.recommenders.protocols import Recommender
from tasks.datasets.load_dataset import open_dataset
from tasks.orchestration.guards import hold_pseudonym_key
from tasks.orchestration.progress import progress
from tasks.orchestration.run_artifacts import TRAINING, markdown, of_training, show_links
from tasks.promotion.recorded_bundles import (
    EVALUATION_PATH,
    PER_USER,
    RERANKED,
    SUMMARY,
    TrainedBundle,
    evaluation_digest,
    evaluations_of,
    log_figures,
    record,
    recorded,
    recorded_all,
)
from tasks.reports.evaluation_plots import (
    estimate_of,
    format_estimate,
    plot_calibration,
    plot_confusion,
    plot_importance,
    plot_learning_curve,
    plot_overfit,
    plot_precision_recall,
    plot_residuals,
    plot_roc,
    plot_spread,
)
from tasks.scoring.publish_batch import TextCodes
from tasks.training.fit_by_epochs import Checkpoints, fit_by_epochs
from tasks.tuning.best_settings import settings_of

TABLES: Final = "tables.csv"
IMPORTANCE: Final = "feature_importance"
"""The name of a table and a plot."""
EVALUATION_FORMAT: Final = 7
"""The format of evaluations. A model whose run has another format is trained again."""


def store_evaluation(folder: Path, appraisal: ModelReport, kind: str) -> None:
    """Fill a new folder, without plots for which the model has no figures, such as calibration."""
    folder.mkdir()
    evaluation = appraisal.evaluation
    pq.write_table(evaluation.per_user, folder / PER_USER)
    (folder / SUMMARY).write_text(json.dumps(evaluation.summary, indent=1))
    (folder / RERANKED).write_text(json.dumps([lists._asdict() for lists in evaluation.reranked], indent=1))
    pa_csv.write_csv(pa.Table.from_pylist(table_rows(evaluation)), folder / TABLES)
    if not evaluation.per_user.num_rows:
        return
    plot_spread(evaluation, kind, folder / "ndcg_spread.png")
    plot_confusion(evaluation, kind, folder / "confusion_matrix.png")
    plot_residuals(evaluation, kind, folder / "residuals.png")
    if appraisal.overfit:
        plot_overfit(appraisal.overfit, kind, folder / "overfit_check.png")
    if appraisal.curve:
        plot_learning_curve(appraisal.curve, kind, folder / "learning_curve.png")
    if appraisal.importance:
        rows = [
            {"feature": one.feature, "moves": one.moves.value, "low": one.moves.low, "high": one.moves.high}
            | {"adds": one.adds}
            for one in appraisal.importance
        ]
        pa_csv.write_csv(pa.Table.from_pylist(rows), folder / f"{IMPORTANCE}.csv")
        plot_importance(appraisal.importance, kind, folder / f"{IMPORTANCE}.png")
    pairs, figures = evaluation.pairs, appraisal.pairs
    if pairs is None or not figures:
        return
    plot_roc(pairs, figures, kind, folder / "roc_curve.png")
    plot_precision_recall(evaluation, pairs, figures, kind, folder / "precision_recall.png")
    if pairs.probabilities:
        plot_calibration(pairs, figures, kind, folder / "calibration.png")


def table_rows(evaluation: Evaluation) -> list[JsonObject]:
    """Return a row for each figure, with its interval in a column for each part of the users and items."""
    parts = split_prefixes(evaluation.summary)
    names = [name for name in parts["", ""] if name + LOW in parts["", ""]]
    return [{"figure": "users"} | {_column(*part): f"{figures['users']:.0f}" for part, figures in parts.items()}] + [
        {"figure": name} | {_column(*part): _cell(figures, name) for part, figures in parts.items()} for name in names
    ]


def _column(part: str, kind: str) -> str:
    return f"{part.strip('_') or 'all'} users, {kind.strip('_') or 'all'} items"


def _cell(figures: dict[str, float], name: str) -> str:
    return format_estimate(estimate_of(figures, name)) if name + LOW in figures else ""


@task(description="Compare trained models with each other, user by user.")
@hold_pseudonym_key
def compare_models(run_ids: list[str]) -> list[JsonObject]:
    """Return the leaderboard of these training runs; `run` is the address of each run's page."""
    installation = current()
    registry = Registry(installation.endpoints.mlflow_tracking_uri)
    runs = {trained.kind: trained for trained in recorded_all(installation.engine, run_ids).values()}
    evaluations = evaluations_of(installation.engine, registry, runs)
    for trained in runs.values():
        registry.log(trained.run_id, baseline_figures(evaluations))
    rows = leaderboard(evaluations)
    return [{**row, "run": registry.page(runs[str(row["model"])].run_id)} for row in rows]


K: Final = 20
"""Length of the lists, as at the placement `home`."""
_ROUNDS: Final = 7
"""The range of seven times contains the median with a probability of 98 %: 1 - 2 / 2 ** 7."""


def run_key(version: str, kind: str, settings: JsonObject, seed: int) -> str:
    """Return a key of everything that decides the result of a training, so that a repeat finds the first run."""
    inputs = json.dumps([version, kind, settings, seed, FORMAT, EVALUATION_FORMAT], sort_keys=True)
    return sha256(inputs.encode()).hexdigest()[:24]


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
    tags = _tags("train", version, kind, searched_by, seed)
    origin = of_training(installation, registry, version, searched_by)
    with registry.active_run(kind, key, chosen, tags | origin | {NOTE: markdown(origin)}) as run_id:
        show_links({TRAINING: registry.page(run_id)}, kind)
        registry.log_dataset(run_id, version, dataset.manifest["content_hash"]["interactions"])
        digest, figures = _train(registry, run_id, dataset, kind, chosen, seed)
        record(installation.engine, TrainedBundle(run_id, key, kind, version, digest, figures))
    return run_id


def _tags(stage: str, version: str, kind: str, searched_by: str, seed: int) -> dict[str, str]:
    tags = {"dataset_version": version, "kind": kind, "git_commit": git_commit()}
    return tags | {"stage": stage, "search_run": searched_by, "seed": str(seed)}


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
        # Fits on parts of the users are short, so that nobody follows their epochs.
        parts = partial(model.fit, config=config, seed=seed)
        appraisal = ModelReport.of(fitted, dataset, before, parts, fit_seconds, seed)
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
    further = log_figures(registry, run_id, kind, dataset.version, summary)
    curve = {point.users: grouped(with_bounds({f"learning_curve_{METRIC}": point.figure})) for point in appraisal.curve}
    registry.log_steps(further, curve)
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
        season=seasonal_change(data),
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
    """Make the lists of users (sorted keys) as `tasks.scoring` does, with the codes of their reasons."""
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

    Settings are the best of a search, or the defaults. Raises TailorbirdError if there is too little history.
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
    tags = _tags("validate", version, kind, searched_by, seed)
    with registry.active_run(f"validate {kind}", key, parameters, tags) as run_id:
        _validate(registry, run_id, dataset, lambda data: catalog.fit(kind, data, settings, seed), planned)
    return _stored(registry, run_id)


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

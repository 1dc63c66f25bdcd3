"""Writes the evaluation of a model as artifacts of its run: figures, tables and plots."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from prefect import task

from infra.installation import current
from infra.registry.client import Registry
from models.evaluation.comparison.leaderboard import leaderboard
from models.evaluation.diagnostics.feature_importance import Importance
from models.evaluation.diagnostics.model_report import ModelReport
from models.evaluation.metrics.user_averages import LOW, split_prefixes
from models.evaluation.offline import Evaluation
from models.primitives.json_types import JsonObject
from tasks.orchestration.guards import hold_pseudonym_key
from tasks.promotion.recorded_bundles import recorded_all
from tasks.promotion.verified_evaluations import PER_USER, RERANKED, SUMMARY, evaluations_of
from tasks.reports.plots.classification import (
    plot_calibration,
    plot_importance,
    plot_precision_recall,
    plot_residuals,
    plot_roc,
)
from tasks.reports.plots.evaluation import (
    estimate_of,
    format_estimate,
    plot_confusion,
    plot_learning_curve,
    plot_overfit,
    plot_spread,
)

TABLES: Final = "tables.csv"
IMPORTANCE: Final = "feature_importance"
"""The name of a table and a plot."""
FORMAT: Final = 6
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
        rows = importance_rows(appraisal.importance)
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


def importance_rows(importance: Sequence[Importance]) -> list[JsonObject]:
    """Return a row for each feature, the strongest first."""
    return [
        {"feature": one.feature, "moves": one.moves.value, "low": one.moves.low, "high": one.moves.high}
        | {"adds": one.adds}
        for one in importance
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
    rows = leaderboard(evaluations_of(installation.engine, registry, runs))
    return [{**row, "run": registry.page(runs[str(row["model"])].run_id)} for row in rows]

"""The artifacts of an evaluation are drawn and written, without MLflow."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from models import catalog
from models.evaluation.model_report import ModelReport
from tasks.datasets.load_dataset import open_dataset
from tasks.training.train_model import store_evaluation

FILES = {"per_user.parquet", "summary.json", "reranked.json", "tables.csv"}
PLOTS = {
    "ndcg_spread",
    "confusion_matrix",
    "residuals",
    "overfit_check",
    "learning_curve",
    "roc_curve",
    "precision_recall",
}


@pytest.fixture
def stored(stage: Any, tmp_path: Path) -> Any:
    dataset = open_dataset(stage.manifest["version"])
    data = dataset.training_data(dataset.cuts.test_from)

    def of(kind: str) -> tuple[ModelReport, Path]:
        model, config = catalog.model_type(kind), catalog.config(kind)
        fit = lambda data: model.fit(data, config, 7)  # noqa: E731
        appraisal = ModelReport.of(fit(data), dataset, data, fit, fit_seconds=1.0, seed=7)
        store_evaluation(tmp_path / kind, appraisal, kind)
        return appraisal, tmp_path / kind

    return of


@pytest.mark.parametrize(
    ("kind", "more"), [("own_frequency", set()), ("logistic_regression", {"calibration", "feature_importance"})]
)
def test_everything_is_drawn_that_the_model_has_figures_for(stored: Any, kind: str, more: set[str]) -> None:
    appraisal, folder = stored(kind)
    names = {file.name for file in folder.iterdir()}
    few = set() if appraisal.curve else {"learning_curve"}
    assert names - {"feature_importance.csv"} == FILES | {f"{plot}.png" for plot in (PLOTS | more) - few}
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in folder.glob("*.png"))


def test_figures_are_written_by_user_as_a_summary_and_as_tables(stored: Any) -> None:
    appraisal, folder = stored("own_frequency")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary.keys() >= {"overfit_gap", "train_ndcg_at_10", "pairs_roc_auc", "pairs_pr_auc", "new_ndcg_at_10_low"}
    assert pq.read_table(folder / "per_user.parquet").equals(appraisal.evaluation.per_user)
    rows = {row["figure"]: row for row in csv.DictReader((folder / "tables.csv").open())}
    assert float(rows["users"]["all users, all items"]) == summary["users"]
    assert rows["ndcg_at_10"]["all users, new items"].startswith(f"{summary['new_ndcg_at_10']:.4f} (")
    assert float(rows["users"]["warm users, all items"]) == summary["warm_users"]


def test_the_features_that_a_model_hangs_on_are_a_table(stored: Any) -> None:
    appraisal, folder = stored("logistic_regression")
    rows = list(csv.DictReader((folder / "feature_importance.csv").open()))
    assert [row["feature"] for row in rows] == [one.feature for one in appraisal.importance]
    assert all(float(row["low"]) <= float(row["moves"]) <= float(row["high"]) for row in rows)

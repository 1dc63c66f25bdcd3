import csv
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import sleep
from typing import Any

import faiss
import numpy as np
import pyarrow.parquet as pq
import pytest
from threadpoolctl import threadpool_info

from infra.bundles import bundle
from infra.configuration import placements
from models import catalog
from models.evaluation.model_report import ModelReport
from models.lists.list_builder import ListBuilder
from models.lists.model_cascade import build_cascade
from models.lists.ranked_lists import Lists
from models.lists.rules.compiled_rules import CompiledRules
from tasks.datasets.load_dataset import open_dataset
from tasks.scoring.batch_work import user_lists
from tasks.scoring.publish_batch import TextCodes
from tasks.training.train_model import K, make_lists, measure_costs, store_evaluation

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


@dataclass
class Watched:
    """A model that notes its calls and the threads that they may use."""

    model: Any
    threads: list[set[int]] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    reasoned: int = 0
    first_takes: float = 0.0

    @property
    def users(self) -> np.ndarray:
        return self.model.users

    @property
    def items(self) -> np.ndarray:
        return self.model.items

    def scores(self, users: np.ndarray) -> np.ndarray:
        if not self.calls:
            sleep(self.first_takes)
        self.threads.append({pool["num_threads"] for pool in threadpool_info()} | {faiss.omp_get_max_threads()})
        self.calls.append(len(users))
        return self.model.scores(users)

    def reasons(self, users: np.ndarray, items: np.ndarray) -> list[str]:
        self.reasoned += 1
        return self.model.reasons(users, items)


def answers_of(folder: Path) -> ListBuilder:
    stored = bundle.load(folder)
    order = build_cascade(stored.model, stored.segments, stored.fallback)
    return ListBuilder(order, stored.fallback, CompiledRules.plain(K, stored.available))


def by_user(chunks: list[Lists]) -> dict[str, tuple[list[int], list[float]]]:
    return {
        key: (items, scores)
        for part in chunks
        for key, items, scores in zip(part.subjects.tolist(), part.items.tolist(), part.scores.tolist(), strict=True)
    }


@pytest.mark.parametrize("kind", ["own_frequency", "als"])
def test_the_measured_lists_are_the_published_ones(stage: Any, kind: str) -> None:
    answers = answers_of(stage.promote(kind))
    work = user_lists(stage.here, "home", placements.one(stage.here.settings, "home", None))
    published = by_user(list(work.lists(TextCodes())))
    measured = by_user(make_lists(answers, answers.cascade.models[0].users))
    assert len(published) == 30
    assert {key: measured[key] for key in published} == published


def test_the_time_is_that_of_one_thread_over_warm_rounds_with_an_interval(stage: Any, tmp_path: Path) -> None:
    answers = answers_of(stage.promote())
    model, *others = answers.cascade.models
    watched = Watched(model, first_takes=2.0)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "part").write_bytes(bytes(1500))
    before = threadpool_info()
    costs = measure_costs(replace(answers, cascade=replace(answers.cascade, models=(watched, *others))), folder)
    assert watched.threads == [{1}] * 8
    assert threadpool_info() == before
    assert set(watched.calls) == {len(model.users)}
    assert watched.reasoned == 8
    assert 0 < costs["score_ms_low"] <= costs["score_ms"] <= costs["score_ms_high"] < 2000 / len(model.users)
    assert costs["artifact_mb"] == 0.0015


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

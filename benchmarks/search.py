"""Measures the improvement of half an hour of search over the defaults, and the overhead of a search.

Run as `python -m benchmarks.search`; `--minutes` is shared by the models. Gains are relative, over the users of the
searched validation folds, and over those of the test weeks.
"""

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.complete_journey import built
from benchmarks.results import FOLDER, publish
from models import catalog
from models.columns import USER_KEY
from models.datasets.dataset import Dataset
from models.datasets.time_splits import Fold
from models.evaluation.comparison.paired import figures as of_users
from models.evaluation.metrics.bootstrap import Estimate, intervals_of_ratios
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.offline import Evaluation, evaluate
from models.primitives.json_types import JsonObject
from models.tuning.folds import FoldData, search_folds
from models.tuning.study_config import Budget, SearchPlan

SEED: Final = 7
WORKERS: Final = 2
KINDS: Final = {"knn": "item_knn", "lightfm": "lightfm_hybrid", "als": "als", "ranker": "two_stage"}
_SAME: Final = {"item_knn": 12, "als": 12}
"""Trials of the same settings by one worker and by two."""


@contextmanager
def installation() -> Iterator[Dataset]:
    """Open the Complete Journey with PostgreSQL and MLflow, without earlier searches."""
    os.environ |= {"TAILORBIRD_SETTINGS": "none", "TAILORBIRD_VAR": str(FOLDER.absolute() / "search-var")}
    from sqlalchemy import delete

    from infra.configuration.settings import load
    from infra.database.schema.schema import search_results
    from infra.installation import current
    from infra.supervisor import startup

    startup.export(startup.start(load(), print))
    try:
        dataset = built()
        with current().engine.begin() as connection:
            connection.execute(delete(search_results))
        yield dataset
    finally:
        startup.stop(load(), print)


def searched(dataset: Dataset, kind: str, plan: SearchPlan, budget: Budget, workers: int) -> tuple[JsonObject, float]:
    """Return the result of a new search, and its seconds."""
    from tasks.tuning.search_model import search_model

    started = time.perf_counter()
    payload: Any = search_model.fn(dataset.version, kind, plan, budget, workers, fresh=True)
    return payload, time.perf_counter() - started


def relative_gain(pairs: list[tuple[Evaluation, Evaluation]]) -> Estimate:
    """Return the relative gain in NDCG@10 of the second model of each pair over the first, with its 95 % interval.

    Users are resampled with all their folds (Efron 1979).
    """
    sums: defaultdict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(2))
    for pair in pairs:
        before, after = (dict(zip(e.per_user[USER_KEY].to_pylist(), of_users(e, METRIC), strict=True)) for e in pair)
        for user, figure in before.items():
            sums[user] += (figure, after[user])
    figures = np.array([*sums.values()])
    more, first = (figures[:, 1] - figures[:, 0])[:, None], figures[:, :1]
    low, high = intervals_of_ratios(more, first, SEED)[:, 0]
    return Estimate(float(more.sum() / first.sum()), float(low), float(high))


def _both(dataset: Dataset, fold: Fold, kind: str, best: Mapping[str, Any]) -> tuple[Evaluation, Evaluation]:
    """Evaluate the defaults and the best settings on a fold."""
    opened = FoldData.of(dataset, fold)

    def measured(settings: Mapping[str, Any]) -> Evaluation:
        model = catalog.model_type(kind).fit(opened.data, catalog.config(kind, settings), SEED)
        return evaluate(model, opened.data, opened.targets, opened.popular, brief=True)

    return measured({}), measured(best)


def _improved(dataset: Dataset, minutes: float, figures: dict[str, float]) -> Table:
    """Search each model and measure its gains."""
    table = Table("model", "tried", "gain on the folds (95 %)", "gain in the test weeks (95 %)", title_justify="left")
    busy = seconds = 0.0
    plan = SearchPlan(seed=SEED)
    for name, kind in KINDS.items():
        budget = Budget(trials=None, minutes=minutes / len(KINDS), patience=1_000_000)
        payload, elapsed = searched(dataset, kind, plan, budget, WORKERS)
        busy += sum(line["busy_seconds"] or 0.0 for line in payload["tried"])
        seconds += WORKERS * elapsed
        cuts, folds = dataset.cuts, search_folds(dataset, plan.folds)
        gain = relative_gain([_both(dataset, fold, kind, payload["config"]) for fold in folds])
        test = Fold(cuts.test_from, cuts.test_from, cuts.as_of)
        later = relative_gain([_both(dataset, test, kind, payload["config"])])
        figures |= {f"trials_{name}": payload["trials"], **_bounds(f"gain_{name}", gain)} | _bounds(
            f"test_gain_{name}", later
        )
        table.add_row(kind, str(payload["trials"]), _with_interval(gain), _with_interval(later))
    figures["overhead_share"] = 1 - busy / seconds
    return table


def _bounds(name: str, gain: Estimate) -> dict[str, float]:
    return {name: gain.value, f"{name}_low": gain.low, f"{name}_high": gain.high}


def _with_interval(gain: Estimate) -> str:
    return f"{gain.value:+.1%} ({gain.low:+.1%} to {gain.high:+.1%})"


def _speedup(dataset: Dataset) -> float:
    """Return how much faster two workers try the same settings than one with both cores."""
    plan = SearchPlan("random", folds=1, seed=SEED)  # on one fold nothing is pruned, so that the work is the same
    seconds = dict.fromkeys((1, 2), 0.0)
    for kind, trials in _SAME.items():
        for workers in seconds:
            seconds[workers] += searched(dataset, kind, plan, Budget(trials, patience=trials), workers)[1]
    return seconds[1] / seconds[2]


def main() -> None:
    """Measure, and write the figures to var/benchmarks/search.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    minutes = parser.parse_args().minutes
    figures: dict[str, float] = {"minutes": minutes}
    with installation() as dataset:
        table = _improved(dataset, minutes, figures)
        figures["speedup_2_workers"] = _speedup(dataset)
    Console().print(table)
    publish("search", figures, SEED)


if __name__ == "__main__":
    main()

"""Measures models on several time folds, each with the earlier data as training data.

The folds of a search are the validation weeks and spans of equal length before them, never the test weeks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

from models.columns import OCCURRED_AT
from models.datasets.dataset import Dataset
from models.datasets.time_splits import Fold, rolling_origin
from models.datasets.training_data import TrainingData
from models.errors import TailorbirdError
from models.evaluation.comparison import GAIN, leaderboard_order
from models.evaluation.metrics.bootstrap import LOW, NEW, split_prefixes
from models.evaluation.metrics.ranking import COVERAGE, METRIC
from models.evaluation.offline import evaluate
from models.primitives.time import DAY, moment
from models.recommenders.baselines.most_popular import popularity
from models.recommenders.protocols import Recommender

Figures = dict[str, float]
_MIN_HISTORY = 28 * DAY


def cross_validation_folds(dataset: Dataset, folds: int, horizon_days: int | None = None) -> tuple[Fold, ...]:
    """Return folds that end where the test weeks begin; by default each is as long as these.

    Raises TailorbirdError if the history is too short, or with fewer than two folds, which have no deviation.
    """
    if folds < 2:
        raise TailorbirdError("A cross-validation needs at least 2 folds.")
    cuts = dataset.cuts
    horizon = horizon_days or max(1, (cuts.as_of - cuts.test_from) // DAY)
    return rolling_origin(pc.min(dataset.interactions[OCCURRED_AT]).as_py(), cuts.test_from, folds, horizon)


def search_folds(dataset: Dataset, folds: int) -> tuple[Fold, ...]:
    """Return up to `folds` folds: the validation weeks first, then earlier spans of the same length.

    There are fewer if the earliest one would leave less than 28 days of training data.
    """
    cuts = dataset.cuts
    earliest, length = pc.min(dataset.interactions[OCCURRED_AT]).as_py(), cuts.test_from - cuts.validation_from
    starts = [cuts.validation_from - place * length for place in range(folds)]
    long_enough = [start for place, start in enumerate(starts) if place == 0 or start - earliest >= _MIN_HISTORY]
    return tuple(Fold(start, start, start + length) for start in long_enough)


@dataclass(frozen=True)
class FoldData:
    """The data of one fold, loaded once for all trials."""

    data: TrainingData
    targets: sparse.csr_array
    popular: NDArray[np.float32]

    @classmethod
    def of(cls, dataset: Dataset, fold: Fold) -> "FoldData":
        """Load the data before the fold, and the purchases in it."""
        data = dataset.training_data(fold.train_until)
        return cls(data, dataset.holdout(data, fold.measured_until), popularity(data))

    def figures(self, model: Recommender) -> dict[str, float]:
        """Return accuracy and coverage of a model that was fitted to `data`; also on new items, if any were bought."""
        summary = evaluate(model, self.data, self.targets, self.popular, brief=True).summary
        names = (METRIC, COVERAGE) if np.isnan(summary[NEW + METRIC]) else (METRIC, COVERAGE, NEW + METRIC)
        return {name: summary[name] for name in names}


def measure(fit: Callable[[TrainingData], Recommender], dataset: Dataset, folds: Sequence[Fold]) -> Iterator[Figures]:
    """Yield the means of each fold, over all items and over items new to the user (`new_`)."""
    for fold in folds:
        known = FoldData.of(dataset, fold)
        summary = evaluate(fit(known.data), known.data, known.targets, known.popular).summary
        parts = split_prefixes(summary)
        bounded = [kind + name for kind in ("", NEW) for name in parts["", kind] if name + LOW in parts["", kind]]
        yield {name: summary[name] for name in bounded} | {"users": summary["users"]}


def mean_and_sd(folds: Sequence[Mapping[str, float]]) -> Figures:
    """Return `<name>_mean` and `<name>_sd` (sample deviation, n - 1) of each figure."""
    statistics: Figures = {}
    for name in folds[0]:
        values = np.array([fold[name] for fold in folds])
        statistics |= {f"{name}_mean": float(values.mean()), f"{name}_sd": float(values.std(ddof=1))}
    return statistics


def folds_table(models: Mapping[str, Sequence[Mapping[str, float]]]) -> list[dict[str, str]]:
    """Return a row per model in leaderboard order: mean ± sd over the folds, and the gain over the best model above.

    Gains are differences fold by fold.
    """
    means = {name: mean_and_sd(folds) for name, folds in models.items()}
    steps = leaderboard_order({name: figures[f"{METRIC}_mean"] for name, figures in means.items()})
    rows = []
    for step, name in enumerate(steps):
        row = {"model": name}
        for kind, title in (("", "NDCG@10"), (NEW, "new items")):
            row[title] = _cell(means[name], kind + METRIC)
            best = max(steps[:step], key=lambda other: means[other][f"{kind}{METRIC}_mean"], default=None)
            pairs = zip(models[name], models[best], strict=True) if best else ()
            gained = best and mean_and_sd([{GAIN: own[kind + METRIC] - other[kind + METRIC]} for own, other in pairs])
            row[f"{title}, gain"] = _cell(gained, GAIN, "+") if gained else ""
        rows.append(row)
    return rows


def folds_title(models: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Return the number of folds, and the time span that they measure."""
    folds = next(iter(models.values()))
    first, end = moment(folds[0]["measured_from"]), moment(folds[-1]["measured_until"])
    return f"Mean ± sd over {len(folds)} folds, {first} UTC to {end} UTC, each learned from all before it"


def _cell(figures: Mapping[str, Any], name: str, sign: str = "") -> str:
    return f"{figures[f'{name}_mean']:{sign}.4f} ± {figures[f'{name}_sd']:.4f}"


def artifact_mb(model: Recommender) -> float:
    """Return the size of a model's arrays in MB, uncompressed."""
    return sum(values.nbytes for values in model.state().values()) / 1e6

"""Folds of a search: the validation weeks and spans of equal length before them, never the test weeks."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.columns import OCCURRED_AT
from models.datasets.dataset import Dataset
from models.datasets.time_splits import Fold
from models.datasets.training_data import TrainingData
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.offline import evaluate
from models.primitives.time import DAY
from models.recommenders.baselines.most_popular import popularity
from models.recommenders.protocols import Recommender
from models.tuning.study_config import COVERAGE, NEW_METRIC

if TYPE_CHECKING:
    from scipy import sparse

_MIN_HISTORY = 28 * DAY


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
    targets: "sparse.csr_array"
    popular: NDArray[np.float32]

    @classmethod
    def of(cls, dataset: Dataset, fold: Fold) -> "FoldData":
        """Load the data before the fold, and the purchases in it."""
        data = dataset.training_data(fold.train_until)
        return cls(data, dataset.holdout(data, fold.measured_until), popularity(data))

    def figures(self, model: Recommender) -> dict[str, float]:
        """Return accuracy and coverage of a model that was fitted to `data`; also on new items, if any were bought."""
        summary = evaluate(model, self.data, self.targets, self.popular, brief=True).summary
        new = {} if np.isnan(summary[NEW_METRIC]) else {NEW_METRIC: summary[NEW_METRIC]}
        return {name: summary[name] for name in (METRIC, COVERAGE)} | new


def artifact_mb(model: Recommender) -> float:
    """Return the size of a model's arrays in MB, uncompressed."""
    return sum(values.nbytes for values in model.state().values()) / 1e6

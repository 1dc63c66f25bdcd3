"""What a search measures settings on: the validation weeks, and stretches as long before them. Never the test weeks."""

from dataclasses import dataclass
from typing import Any

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
from models.tuning.study_config import COVERAGE

_MIN_HISTORY = 28 * DAY


def search_folds(dataset: Dataset, folds: int) -> tuple[Fold, ...]:
    """The validation weeks first and then up to `folds` in all, each ending where the one before begins.

    Fewer where the earliest of them would leave less than 28 days to learn from.
    """
    cuts = dataset.cuts
    earliest, length = pc.min(dataset.interactions[OCCURRED_AT]).as_py(), cuts.test_from - cuts.validation_from
    starts = [cuts.validation_from - place * length for place in range(folds)]
    long_enough = [start for place, start in enumerate(starts) if place == 0 or start - earliest >= _MIN_HISTORY]
    return tuple(Fold(start, start, start + length) for start in long_enough)


@dataclass(frozen=True)
class FoldData:
    """One fold, opened once for all settings that are tried on it."""

    data: TrainingData
    targets: Any
    popular: NDArray[np.float32]

    @classmethod
    def of(cls, dataset: Dataset, fold: Fold) -> "FoldData":
        """What is known before it, and what was bought in it."""
        data = dataset.training_data(fold.train_until)
        return cls(data, dataset.holdout(data, fold.measured_until), popularity(data))

    def figures(self, model: Recommender) -> dict[str, float]:
        """Accuracy and coverage of a model that was fitted to `data`."""
        summary = evaluate(model, self.data, self.targets, self.popular, brief=True).summary
        return {name: summary[name] for name in (METRIC, COVERAGE)}


def artifact_mb(model: Recommender) -> float:
    """What a model's arrays take, uncompressed."""
    return sum(values.nbytes for values in model.state().values()) / 1e6

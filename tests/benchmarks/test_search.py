import pyarrow as pa
import pytest

from benchmarks.search import relative_gain
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.offline import Evaluation


def measured(**figures: float) -> Evaluation:
    return Evaluation(pa.table({"user_key": [*figures], METRIC: [*figures.values()]}), {})


def test_a_gain_is_relative_and_over_all_stretches_of_time() -> None:
    first = (measured(ann=0.2, bob=0.4), measured(ann=0.3, bob=0.4))
    second = (measured(bob=0.4), measured(bob=0.5))
    gain = relative_gain([first, second])
    assert gain.value == pytest.approx(0.2 / 1.0)
    assert gain.low == pytest.approx(0.1 / 0.8)  # bob alone: both folds of a user are resampled together
    assert gain.high == pytest.approx(0.5)  # ann alone

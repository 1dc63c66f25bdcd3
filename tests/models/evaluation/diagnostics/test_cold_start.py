import pyarrow as pa
import pytest

from models.datasets.training_data import TrainingData, targets
from models.evaluation.diagnostics.model_report import cold_start_data

DAY = 86_400


@pytest.fixture(scope="module")
def data(small) -> TrainingData:
    rows = [("a", "x", 100, "1"), ("b", "x", 100, "2"), ("b", "y", 72, "3"), ("b", "z", 100, "4")]
    return small([(u, i, d - 1e-9, s) for u, i, d, s in rows], {"x": "FOOD|MILK", "y": "FOOD|MILK", "z": "TOYS"})


def test_strangers_are_measured_on_what_they_buy_of_the_known_items(data: TrainingData) -> None:
    frame = cold_start_data(data, pa.table({"user_key": ["n", "m"]}))
    assert frame.users.tolist() == ["m", "n"]
    assert frame.history().nnz == 0
    rows = {"user_key": ["n", "a", "n"], "item_id": ["y", "y", "new"], "occurred_at": [101 * DAY] * 3}
    result = targets(pa.table(rows), frame, 100 * DAY, 102 * DAY)
    assert result.toarray().tolist() == [[False, False, False], [False, True, False]]

import pyarrow as pa
import pytest

from models.datasets.training_data import targets

DAY = 86_400


@pytest.fixture
def later() -> pa.Table:
    rows = [
        ("a", "x", 99),  # before the window
        ("a", "y", 100),  # the first moment of the window
        ("a", "y", 101),
        ("b", "x", 106),
        ("b", "unknown", 101),
        ("stranger", "x", 101),
        ("b", "y", 107),  # the first moment after the window
    ]
    user, item, day = zip(*rows, strict=True)
    return pa.table({"user_key": user, "item_id": item, "occurred_at": [d * DAY for d in day]})


def test_targets_are_known_items_bought_by_known_users_in_the_window(small, later: pa.Table) -> None:
    data = small([("a", "x", 1, "1"), ("b", "y", 1, "2")])
    result = targets(later, data, 100 * DAY, 107 * DAY)
    assert result.dtype == bool
    assert result.toarray().tolist() == [[False, True], [True, False]]
    assert result.nnz == 2


def test_a_window_that_models_have_seen_is_refused(small, later: pa.Table) -> None:
    with pytest.raises(ValueError, match="training data reach up to"):
        targets(later, small([("a", "x", 1, "1")]), 99 * DAY, 107 * DAY)

from datetime import UTC, datetime, timedelta

import pytest

from models.tuning.retune_policy import LastSearch, reason_to_search

NOW = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("days", "drift_then", "drift", "answer"),
    [
        (10, None, 0.04, ""),
        (10, None, 0.06, "users have moved by 0.060 since the last search, and 0.050 was the distance before that one"),
        (10, 0.2, 0.19, ""),
        (10, 0.2, 0.21, "users have moved by 0.210 since the last search, and 0.200"),
        (31, 0.2, 0.0, "the last search is 31 days old, and 30 are enough"),
    ],
)
def test_a_search_is_due_when_it_is_old_or_users_have_moved(
    days: int, drift_then: float | None, drift: float, answer: str
) -> None:
    last = LastSearch(NOW - timedelta(days=days), drift_then)
    result = reason_to_search(last, NOW, drift)
    assert result.startswith(answer)
    assert bool(result) == bool(answer)


def test_a_model_that_was_never_searched_is_due() -> None:
    assert reason_to_search(None, NOW, 0.0) == "it has no search yet"

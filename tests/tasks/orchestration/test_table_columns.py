"""Tables of Prefect's pages: the order of their columns, and their figures."""

import math
from datetime import UTC, datetime

import pytest

from tasks.orchestration.table_columns import GATE, GROUPS, in_order, judged, rounded, windows_table


def test_columns_come_in_reading_order_whatever_order_a_row_has() -> None:
    stored = {"low": None, "name": "is personal", "limit": 1.0, "value": 7.0, "detail": "7 lists.", "outcome": "passed"}
    [row] = in_order([stored], GATE)
    assert list(row) == ["outcome", "check", "detail", "value", "limit", "low"]


def test_groups_that_are_too_small_are_not_shown_as_passed() -> None:
    groups = [{"trait": "age", "judged": False, "passed": True}, {"trait": "age", "judged": True, "passed": False}]
    assert [row["outcome"] for row in in_order(judged(groups), GROUPS)] == ["too few people to judge", "worse"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.24974002065834705, 0.2497),
        (2037.0, 2037),
        (7, 7),
        (1430.499328, 1430.5),
        (0.00001234, 1.2e-05),
        (math.nan, ""),
    ],
)
def test_figures_are_rounded(value: float, shown: float | str) -> None:
    assert rounded(value) == shown


def test_a_run_that_has_nothing_to_judge_names_the_reason() -> None:
    _, [row] = windows_table({"reports": [], "note": "Nobody was promoted yet."}, "")
    assert row == {"verdict": "nothing to judge", "reasons": "Nobody was promoted yet."}


def test_the_latest_window_comes_first() -> None:
    days = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 8, 15)]
    reports = [
        {"window_from": days[at], "window_to": days[at + 1], "reasons": ["x"], "drivers": [], "verdict": "stable"}
        for at in (0, 1)
    ]
    _, rows = windows_table({"reports": reports, "note": ""}, "")
    assert [row["window"] for row in rows] == ["2026-01-08 to 2026-01-15", "2026-01-01 to 2026-01-08"]

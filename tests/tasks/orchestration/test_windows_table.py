"""A run of `monitor` always leaves a table."""

from datetime import UTC, datetime

from tasks.orchestration.table_columns import windows_table


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


def test_acceptance_by_a_person_is_the_verdict() -> None:
    _, [row] = windows_table({"reports": [], "note": ""}, "a sale")
    assert row["verdict"] == "accepted"

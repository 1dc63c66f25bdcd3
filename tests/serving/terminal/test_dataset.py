from typing import Any

import pytest

from serving.terminal import screen

MANIFEST: dict[str, Any] = {"version": "v1", "rows": {"users": 2}, "validation_from": 0, "test_from": 1, "as_of": 2}


def printed(capsys: pytest.CaptureFixture[str], **more: Any) -> str:
    screen.show("dataset", MANIFEST | more)
    return " ".join(capsys.readouterr().out.split())


def test_a_warning_is_called_one_and_explains_that_it_stops_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, warnings=["ratio_users is 4; 0.5 to 2 is allowed"])
    assert "Warning: ratio_users is 4; 0.5 to 2 is allowed. Warnings stop nothing: models learn from this" in out


def test_an_accepted_check_is_no_warning(capsys: pytest.CaptureFixture[str]) -> None:
    accepted = {"detail": "lake_rows is 0.3; 0.5 to 2 is allowed", "accepted_by": "ann", "reason": "a restore"}
    out = printed(capsys, accepted=[accepted])
    assert "Accepted by ann: lake_rows is 0.3; 0.5 to 2 is allowed. The reason: a restore" in out
    assert "Warning" not in out


def test_a_data_set_that_ends_within_a_day_states_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    cuts = {"validation_from": 1_740_000_000, "test_from": 1_741_564_800, "as_of": 1_743_450_123}
    out = printed(capsys, **cuts)
    assert "validation from 2025-02-19 21:20 UTC, test from 2025-03-10 00:00 UTC, " in out
    assert "events before 2025-03-31 19:42:03 UTC" in out

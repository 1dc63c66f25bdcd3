"""The reconciler's log names the time of each line."""

from datetime import UTC, datetime, timedelta

import pytest

from tasks.reconciler.reconcile import _print


def test_a_line_of_the_log_begins_with_its_time_and_has_no_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _print("Version 3 by \x1b[2Jann")
    time, line = capsys.readouterr().out.split(" | ")
    assert line == "Version 3 by \\x1b[2Jann\n"
    written = datetime.strptime(time, "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
    assert timedelta() <= datetime.now(UTC) - written < timedelta(minutes=1)

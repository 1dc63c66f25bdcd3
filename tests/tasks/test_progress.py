import pytest

from tasks.progress import progress


def test_without_a_terminal_work_is_announced_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("count sheep", 3) as advance:
        for _ in range(3):
            advance()
    assert capsys.readouterr().err == "  count sheep …\n"


def test_work_of_no_steps_can_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("nothing", 0) as advance:
        advance(0, note="idle")
    assert "nothing" in capsys.readouterr().err

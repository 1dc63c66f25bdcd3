from uuid import uuid4

import httpx
import pytest

from tasks.orchestration import progress as shown
from tasks.orchestration.progress import progress


def test_without_a_terminal_work_is_announced_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("count sheep", 3) as advance:
        for _ in range(3):
            advance()
    assert capsys.readouterr().err == "  count sheep …\n"


def test_work_of_no_steps_can_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("nothing", 0) as advance:
        advance(0, note="idle")
    assert "nothing" in capsys.readouterr().err


def test_no_work_ends_because_prefect_cannot_be_shown_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_args: object, **_kwargs: object) -> None:
        raise httpx.ConnectError("nobody listens")

    monkeypatch.setattr(shown, "update_progress_artifact", away)
    monkeypatch.setattr(shown, "_artifact", lambda _title: uuid4())
    monkeypatch.setattr(shown, "_SECONDS_BETWEEN", 0.0)
    with progress("count sheep", 2) as advance:
        advance(note="one")
        advance()

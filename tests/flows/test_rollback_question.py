"""`rollback model` asks for confirmation on a terminal only."""

from collections.abc import Callable
from typing import Any

import pytest

from flows.commands import reviewing, running


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Return the arguments of the flow's calls."""
    calls: list[tuple[str, str]] = []
    flow: Callable[..., Any] = lambda *given: calls.append(given)  # noqa: E731
    monkeypatch.setattr(running, "flow", lambda *_: flow)
    monkeypatch.setattr(running, "finish", lambda *_: None)
    monkeypatch.setattr("infra.installation.current", lambda: None)
    monkeypatch.setattr("tasks.scoring.roll_back.rollback_effect", lambda _: "Version 1 becomes the champion again.")
    return calls


@pytest.mark.parametrize(("terminal", "yes", "questions_asked"), [(True, False, 1), (True, True, 0), (False, False, 0)])
def test_a_rollback_asks_once_on_a_terminal(
    done: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, terminal: bool, yes: bool, questions_asked: int
) -> None:
    questions: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: terminal, raising=False)
    monkeypatch.setattr("typer.confirm", lambda question, **_: questions.append(question) or True)
    reviewing.rollback_model("a slip", "ann", yes)
    assert (len(questions), done) == (questions_asked, [("ann", "a slip")])


def test_after_a_no_nothing_is_rolled_back(
    done: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)
    with pytest.raises(Exception, match=r"^0?$"):
        reviewing.rollback_model("a slip", "ann")
    shown = capsys.readouterr().err
    assert (done, "Nothing was changed." in shown, "Version 1 becomes" in shown) == ([], True, True)

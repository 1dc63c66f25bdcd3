"""The reconciler looks at MLflow between its rounds, and its log names the time of each line."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Event, Thread
from typing import Any

import pytest

from infra.installation import Installation, current
from tasks.reconciler import reconcile
from tasks.reconciler.reconcile import _print, watch
from tests.recording_server import RecordingServer


class Mlflow(RecordingServer):
    """An MLflow server whose model has the aliases and whose version 5 has the tags that a test sets; no Prefect."""

    def __init__(self) -> None:
        super().__init__()
        self.aliases: list[dict[str, str]] = []
        self.tags: list[dict[str, str]] = []

    def answer(self, path: str, _payload: Any) -> tuple[int, Any]:
        if "/registered-models/get" in path:
            return 200, {"registered_model": {"name": "tailorbird", "aliases": self.aliases}}
        if "/model-versions/search" in path:
            return 200, {"model_versions": [{"name": "tailorbird", "version": "5", "tags": self.tags}]}
        return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no"}

    def reads(self) -> str:
        """Return the reads of tags (t) and aliases (a) in their order."""
        kinds = {"/model-versions/search": "t", "/registered-models/get": "a"}
        return "".join(kind for path, _ in self.received for part, kind in kinds.items() if part in path)

    def rounds(self) -> int:
        """Return the number of rounds: after the tags each reads the aliases twice, and a look between them once."""
        return self.reads().count("taa")


@pytest.fixture
def mlflow(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mlflow]:
    assert installation.key
    with Mlflow() as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        monkeypatch.setenv("PREFECT_API_URL", f"{server.url}/api")
        current.cache_clear()
        yield server
        current.cache_clear()


def happens(condition: Any) -> bool:
    """Return whether it happens within half a minute."""
    end = time.monotonic() + 30
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(condition())


def test_a_tag_or_an_alias_that_a_person_sets_starts_a_round_at_the_next_look_and_looks_alone_start_none(
    mlflow: Mlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reconcile._LOOK_SECONDS < 10
    monkeypatch.setattr(reconcile, "_LOOK_SECONDS", 0.05)
    stop, set_tag = Event(), partial(mlflow.tags.append, {"key": "review", "value": "approved"})
    set_alias = partial(mlflow.aliases.append, {"alias": "approved", "version": "5"})
    watching = Thread(target=watch, args=(3600, stop), daemon=True)
    watching.start()
    try:
        changes: list[Callable[[], None]] = [lambda: None, set_tag, set_alias, mlflow.aliases.clear]
        for number, change in enumerate(changes, 1):
            change()
            assert happens(lambda least=number: mlflow.rounds() > least)  # the first round, and one for each change
            reads = len(mlflow.reads())
            assert happens(lambda before=reads: len(mlflow.reads()) > before + 10)
            assert mlflow.rounds() == number + 1
    finally:
        stop.set()
        watching.join(30)


def test_a_line_of_the_log_begins_with_its_time_and_has_no_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _print("Version 3 by \x1b[2Jann")
    time, line = capsys.readouterr().out.split(" | ")
    assert line == "Version 3 by \\x1b[2Jann\n"
    written = datetime.strptime(time, "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
    assert timedelta() <= datetime.now(UTC) - written < timedelta(minutes=1)

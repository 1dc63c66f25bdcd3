"""A command whose services stop ends soon, and prints the reason once."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.supervisor import command_watch, running_commands

PROGRAM = """
import sys, time
from infra.supervisor import command_watch
from infra.supervisor import command_watch
from infra.configuration.settings import load
from flows.commands.running import print_message
command_watch.PATIENCE = float(sys.argv[1])
command_watch._GRACE = 0.5
work = command_watch.begin(load(), sys.argv[2:], print_message)
print("ready", flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted", command_watch.explained(), flush=True)
    if "mlflow" in sys.argv:
        time.sleep(60)
"""


def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> subprocess.Popen[str]:
    monkeypatch.setenv("TAILORBIRD_VAR", str(tmp_path))
    for name in ("TAILORBIRD_DATABASE_URL", "PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    command = [sys.executable, "-c", PROGRAM, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_command_that_is_asked_to_end_prints_the_reason_once_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = started(tmp_path, monkeypatch, "60", "postgres")
    running_commands.running(tmp_path)[0].request_end()
    out, err = process.communicate(timeout=30)
    assert out == "interrupted True\n"
    assert err == (
        "tailorbird: `tailorbird down` stops the services, so this command ends. "
        "Nothing is lost: run `tailorbird up`, then the same command again.\n"
    )


def test_a_command_whose_services_are_gone_names_them_and_ends_although_it_goes_on_working(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = started(tmp_path, monkeypatch, "0", "postgres", "mlflow")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err.count("\n") == 1
    assert "PostgreSQL and MLflow do not run any more, so this command ends." in err
    assert [command.pid for command in running_commands.killed(tmp_path)] == [process.pid]


def test_services_that_are_started_again_in_time_end_nothing() -> None:
    checks = iter([["Prefect"], [], ["Prefect"], ["Prefect"]])
    gone = command_watch.Absence(lambda: next(checks), patience=0.05)
    assert gone.reason() == ""
    time.sleep(0.1)
    assert gone.reason() == ""
    assert gone.reason() == ""
    time.sleep(0.1)
    assert gone.reason() == "Prefect does not run any more"

"""Running and killed commands are distinguished by the locks of their records."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import gethostname

import pytest

from infra.installation import Installation
from infra.overview.situation import step, why_not
from infra.supervisor import command_watch, running_commands
from infra.supervisor.running_commands import Record, under_way
from models.monitoring.guidance.next_step import Stage

PROGRAM = """
import sys, time
from pathlib import Path
from infra.supervisor.running_commands import Record
record = Record.open(Path(sys.argv[1]), "tailorbird train als")
record.add_flow_run("run-1")
print("ready", flush=True)
time.sleep(60)
"""
WATCHED = """
import sys, time
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


@contextmanager
def started(*arguments: str | Path, program: str = PROGRAM) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield a process of that program, which is killed at the end, and its first line."""
    command = [sys.executable, "-c", program, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with started(tmp_path) as (process, _):
        yield process


def test_a_running_command_is_named_with_its_process_and_is_not_a_killed_one(
    tmp_path: Path, process: subprocess.Popen[str]
) -> None:
    [command] = running_commands.running(tmp_path)
    assert str(command).startswith(f"`tailorbird train als` (process {process.pid}, since 20")
    assert list(running_commands.killed(tmp_path)) == []


def test_a_killed_command_is_found_once_with_its_run(tmp_path: Path, process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert running_commands.running(tmp_path) == []
    for command in running_commands.killed(tmp_path):
        assert (command.pid, command.flow_run) == (process.pid, "run-1")
        assert list(running_commands.killed(tmp_path)) == []  # another process that looks at the same time
        command.forget()
    assert list((tmp_path / running_commands.FOLDER).iterdir()) == []


def test_a_killed_command_does_not_run_though_a_process_that_it_began_has_its_lock(tmp_path: Path) -> None:
    program = PROGRAM.replace("print", "import os; child = os.fork()\nif child: print") + "time.sleep(60)\n"
    program = program.replace('("ready", flush=True)', "(child, flush=True)")
    with started(tmp_path, program=program) as (process, line):
        child = int(line)
        try:
            assert [command.pid for command in running_commands.running(tmp_path)] == [process.pid]
            process.kill()
            process.wait()
            assert list(running_commands.killed(tmp_path)) == []
            assert running_commands.running(tmp_path) == []
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_command_of_another_host_runs_as_long_as_its_lock_is_held(
    tmp_path: Path, process: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running_commands, "gethostname", lambda: "another")
    [command] = running_commands.running(tmp_path)
    assert (command.pid, command.host) == (process.pid, gethostname())


def test_a_command_that_has_ended_leaves_nothing_and_does_not_count_itself(tmp_path: Path) -> None:
    record = Record.open(tmp_path, "tailorbird score")
    record.command.request_end()
    assert record.command.has_to_end
    assert running_commands.running(tmp_path) == []
    record.close()
    assert list((tmp_path / running_commands.FOLDER).iterdir()) == []


def test_a_record_that_a_full_disk_cut_short_is_removed(tmp_path: Path) -> None:
    (tmp_path / running_commands.FOLDER).mkdir()
    (tmp_path / running_commands.FOLDER / "1-2.json").write_text('{"pid": 1')
    assert list(running_commands.killed(tmp_path)) == []
    assert list((tmp_path / running_commands.FOLDER).iterdir()) == []


@pytest.fixture
def var(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAILORBIRD_VAR", str(tmp_path))
    for name in ("TAILORBIRD_DATABASE_URL", "PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_command_that_is_asked_to_end_prints_the_reason_once_and_ends(var: Path) -> None:
    with started("60", "postgres", program=WATCHED) as (process, _):
        running_commands.running(var)[0].request_end()
        out, err = process.communicate(timeout=30)
    assert out == "interrupted True\n"
    assert err == (
        "tailorbird: `tailorbird down` stops the services, so this command ends. "
        "Nothing is lost: run `tailorbird up`, then the same command again.\n"
    )


def test_a_command_whose_services_are_gone_names_them_and_ends_although_it_goes_on_working(var: Path) -> None:
    with started("0", "postgres", "mlflow", program=WATCHED) as (process, _):
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err.count("\n") == 1
    assert "PostgreSQL and MLflow do not run any more, so this command ends." in err
    assert [command.pid for command in running_commands.killed(var)] == [process.pid]


def test_services_that_are_started_again_in_time_end_nothing() -> None:
    checks = iter([["Prefect"], [], ["Prefect"], ["Prefect"]])
    gone = command_watch.Absence(lambda: next(checks), patience=0.05)
    assert gone.reason() == ""
    time.sleep(0.1)
    assert gone.reason() == ""
    assert gone.reason() == ""
    time.sleep(0.1)
    assert gone.reason() == "Prefect does not run any more"


def test_every_next_line_waits_for_a_command_that_does_the_same_work(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    from serving.terminal.status import print_next_step

    arguments = installation.engine, installation.settings
    assert step(*arguments).stage is Stage.EMPTY
    program = PROGRAM.replace("train als", "ingest shop.toml orders.csv")
    with started(installation.settings.var, program=program) as (process, _):
        [work] = under_way(installation.settings)
        assert (work.flow, f"process {process.pid}" in work.description) == ("ingest", True)
        advice = step(*arguments)
        print_next_step(advice, brief=True)
        refusal = why_not("score", *arguments)
    assert advice.stage is Stage.UNDER_WAY
    assert f"(process {process.pid}" in capsys.readouterr().out
    assert refusal == str(advice)
    assert "is under way; wait until it has ended. Next: `tailorbird status`." in refusal
    assert step(*arguments).stage is Stage.EMPTY

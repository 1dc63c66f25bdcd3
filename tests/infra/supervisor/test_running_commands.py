"""Running and killed commands are distinguished by the locks of their records."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from socket import gethostname

import pytest

from infra.supervisor import running_commands
from infra.supervisor.running_commands import Record

PROGRAM = """
import sys, time
from pathlib import Path
from infra.supervisor.running_commands import Record
record = Record.open(Path(sys.argv[1]), "tailorbird train als")
record.add_flow_run("run-1")
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "ready\n"
        yield started
        started.kill()


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
    with subprocess.Popen([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
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

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from infra.services import processes
from infra.services.processes import Command, ProcessFailedError, Running

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
)
PARENT = "import subprocess, sys, time; subprocess.Popen(['sleep', '61']); print('ready', flush=True); time.sleep(60)"

Run = Callable[[str], tuple[Running, Path]]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    def begin(code: str) -> tuple[Running, Path]:
        log = tmp_path / "log" / "it.log"
        running = processes.start(Command(str(tmp_path), [sys.executable, "-c", code], log, secrets={"WORD": "hidden"}))
        return running, log

    yield begin
    processes.end_strays(str(tmp_path))


def wait_ready(running: Running, log: Path) -> None:
    processes.wait_until(lambda: "ready" in log.read_text(), running, log, seconds=10)


def test_a_process_has_its_own_session_and_its_output_in_the_log(run: Run) -> None:
    running, log = run("print('ready', flush=True); import time; time.sleep(60)")
    wait_ready(running, log)
    assert os.getsid(running.pid) == running.pid
    assert running.alive


def test_a_batch_process_and_its_session_leave_the_processors_to_others(tmp_path: Path) -> None:
    sleeping = [sys.executable, "-c", "import time; time.sleep(60)"]
    running = processes.start(Command(str(tmp_path), sleeping, tmp_path / "log" / "it.log", niceness=7))
    try:
        assert os.getpriority(os.PRIO_PROCESS, running.pid) == 7
        group = Path(f"/proc/{running.pid}/autogroup")
        assert not group.exists() or group.read_text().split()[-2:] == ["nice", "7"]
    finally:
        processes.stop(running, str(tmp_path), by=signal.SIGKILL)


def test_stop_ends_it_and_a_second_stop_finds_nothing(run: Run, tmp_path: Path) -> None:
    running, _ = run("import time; time.sleep(60)")
    assert processes.stop(running, str(tmp_path))
    assert not running.alive
    assert not processes.stop(running, str(tmp_path))


def test_of_two_processes_the_one_that_answers_on_a_port_is_known(run: Run) -> None:
    listening = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); print('ready', s.getsockname()[1])"
    server, log = run(f"{listening}; import sys; sys.stdout.flush(); time.sleep(60)")
    wait_ready(server, log)
    other, _ = run("import time; time.sleep(60)")
    port = int(log.read_text().split()[1])
    assert processes.listens(server, port)
    assert not processes.listens(server, port + 1)
    assert not processes.listens(other, port)
    assert not processes.listens(Running(server.pid, server.created - 60), port)


def test_a_process_that_ignores_the_request_is_forced_after_the_grace_period(run: Run, tmp_path: Path) -> None:
    running, log = run(STUBBORN)
    wait_ready(running, log)
    assert processes.stop(running, str(tmp_path), grace=0.2)
    assert not running.alive


@pytest.mark.parametrize("days", [-1, 1])
def test_a_process_is_known_after_the_clock_was_set(run: Run, tmp_path: Path, days: int) -> None:
    running, log = run("print('ready', flush=True); import time; time.sleep(60)")
    wait_ready(running, log)
    before = replace(running, created=running.created - days * 86_400)  # as it was worked out before that
    assert before.alive
    assert processes.stop(before, str(tmp_path))
    assert not running.alive


def test_a_program_that_now_has_the_pid_of_ours_is_left_alone_even_if_it_started_then(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:  # noqa: S607
        process = psutil.Process(stranger.pid)
        while not process.environ():  # it has none yet right after its start
            time.sleep(0.01)
        began = process.create_time()
        for recycled in (Running(stranger.pid, began - 1000), Running(stranger.pid, began, str(tmp_path))):
            assert not recycled.alive
            assert not processes.stop(recycled, str(tmp_path))
        assert stranger.poll() is None
        stranger.kill()


def test_children_of_a_killed_process_are_ended_too_and_nobody_elses(run: Run, tmp_path: Path) -> None:
    running, log = run(PARENT)
    wait_ready(running, log)
    (child,) = psutil.Process(running.pid).children()
    os.kill(running.pid, signal.SIGKILL)
    processes.end_strays(f"{tmp_path}-of-another")
    assert child.is_running()
    processes.end_strays(str(tmp_path))
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_one_that_nobody_has_cleared_away_yet_has_ended(run: Run) -> None:
    parent, log = run(PARENT)
    wait_ready(parent, log)
    (child,) = psutil.Process(parent.pid).children()
    began = time.monotonic()
    assert processes.stop(Running(child.pid, child.create_time()), "of another", grace=60)
    assert time.monotonic() - began < 30
    assert child.status() == psutil.STATUS_ZOMBIE
    assert parent.alive


def test_a_process_that_ends_while_starting_is_reported_with_the_end_of_its_log(run: Run) -> None:
    running, log = run("raise SystemExit('no such table')")
    with pytest.raises(ProcessFailedError, match=r"ended while starting.*it\.log:\n    no such table"):
        processes.wait_until(lambda: False, running, log)


def test_waiting_has_an_end(run: Run) -> None:
    running, log = run("import time; time.sleep(60)")
    began = time.monotonic()
    with pytest.raises(ProcessFailedError, match="did not answer within 0 s"):
        processes.wait_until(lambda: False, running, log, seconds=0.2)
    assert time.monotonic() - began < 2


def test_secrets_reach_the_process_but_neither_its_command_line_nor_the_description(run: Run, tmp_path: Path) -> None:
    running, log = run("import os, time; print('ready', os.environ['WORD'], flush=True); time.sleep(60)")
    wait_ready(running, log)
    assert "hidden" in log.read_text()
    assert "hidden" not in " ".join(psutil.Process(running.pid).cmdline())
    assert "hidden" not in repr(Command("m", ["x"], tmp_path, secrets={"WORD": "hidden"}))


def test_a_log_that_has_grown_too_large_is_put_aside(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "log" / "it.log"
    log.parent.mkdir()
    log.write_bytes(b"x" * 10_000_001)
    run("print('fresh')")
    assert log.stat().st_size < 100
    assert (tmp_path / "log" / "it.log.1").stat().st_size == 10_000_001

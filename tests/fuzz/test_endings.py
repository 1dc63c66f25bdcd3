"""Every error of a command ends in a sentence, an exit code and the path of a log."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.commands import running
from infra.installation import Installation
from models.errors import TailorbirdError
from tests.fuzz.commands import run


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, own_var: Path) -> Callable[[BaseException], Path]:
    """Make the commands that read the database fail in a certain way; returns the log of the installation."""
    own_var.mkdir()

    def fail(error: BaseException) -> Path:
        def database(_role: str) -> None:
            raise error

        monkeypatch.setattr(running, "database", database)
        return own_var / "log" / "commands.log"

    return fail


def test_a_defect_is_called_one_and_its_traceback_is_in_the_log(failing: Callable[[BaseException], Path]) -> None:
    log = failing(KeyError("raw-id-7"))
    ended = run("ledger")
    assert ended.code == 70
    assert "This is a defect of Tailorbird (KeyError)." in ended.err
    assert ended.err.endswith(f"The traceback is in {log}\n")
    assert "in database" in log.read_text()
    assert "raw-id-7" not in ended.err + log.read_text()


def test_an_outage_names_cause_next_step_and_log(failing: Callable[[BaseException], Path]) -> None:
    log = failing(OSError(errno.ENOSPC, "No space left on device", "/lake"))
    ended = run("ledger")
    assert ended.code == 1
    assert ended.err.startswith("tailorbird: A disk is full (")
    assert "Free space there" in ended.err
    assert "run the same command again" in ended.err
    assert str(log) in ended.err


def test_a_mistake_of_the_user_needs_no_log(failing: Callable[[BaseException], Path]) -> None:
    log = failing(TailorbirdError("There is no such batch. \x1b[31mUse `tailorbird ledger`."))
    ended = run("ledger")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "tailorbird: There is no such batch. \\x1b[31mUse `tailorbird ledger`.\n"
    assert not log.exists()


def test_a_missing_file_is_named(failing: Callable[[BaseException], Path]) -> None:
    failing(FileNotFoundError(errno.ENOENT, "No such file or directory", "/data/x"))
    ended = run("ledger")
    assert ended.code == 1
    assert ended.err.startswith("tailorbird: No such file or directory: /data/x.")


def test_a_command_that_is_stopped_has_its_own_code(failing: Callable[[BaseException], Path]) -> None:
    failing(KeyboardInterrupt())
    assert run("ledger")[::2] == (130, "tailorbird: stopped. The same command goes on from here.\n")


def test_wrong_usage_has_its_own_code() -> None:
    assert run("no-such-command").code == run("ledger", "--no-such-option").code == 2


def test_an_argument_that_is_no_text_is_refused_before_anything_starts() -> None:
    ended = run("recommend", os.fsdecode(b"caf\xe9"))
    assert ended.code == 2
    assert "argument 2 is not UTF-8" in ended.err


def test_output_that_cannot_be_written_ends_in_a_sentence(installation: Installation) -> None:
    assert installation.engine
    command = [sys.executable, "-m", "flows", "ledger", "--json"]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("tailorbird: A disk is full ([Errno 28] No space left on device).")
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (1, "")


def test_a_command_works_without_standard_streams(installation: Installation) -> None:
    assert installation.engine
    command = f"exec {sys.executable} -m flows"
    for arguments, code in (("ledger >&-", 0), ("ledger <&- >&- 2>&-", 0), ("recommend nobody >&- 2>&-", 1)):
        shell = ["/bin/sh", "-c", f"{command} {arguments}"]
        ended = subprocess.run(shell, stderr=subprocess.PIPE, text=True, check=False)
        assert (ended.returncode, ended.stderr) == (code, ""), arguments

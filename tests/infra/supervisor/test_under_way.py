"""Work under way: other commands of the same `var`."""

import subprocess
import sys
from pathlib import Path

import pytest

from infra.installation import Installation
from infra.overview.situation import step, why_not
from infra.supervisor.running_commands import under_way
from models.monitoring.guidance.next_step import Stage

PROGRAM = """
import sys, time
from pathlib import Path
from infra.supervisor.running_commands import Record
record = Record.open(Path(sys.argv[1]), "tailorbird ingest shop.toml orders.csv")
print("ready", flush=True)
time.sleep(60)
"""


def test_every_next_line_waits_for_a_command_that_does_the_same_work(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    from serving.terminal.status import print_next_step

    arguments = installation.engine, installation.settings
    assert step(*arguments).stage is Stage.EMPTY
    command: list[str | Path] = [sys.executable, "-c", PROGRAM, installation.settings.var]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        [work] = under_way(installation.settings)
        assert (work.flow, f"process {process.pid}" in work.description) == ("ingest", True)
        advice = step(*arguments)
        print_next_step(advice, brief=True)
        refusal = why_not("score", *arguments)
        process.kill()
    assert advice.stage is Stage.UNDER_WAY
    assert f"(process {process.pid}" in capsys.readouterr().out
    assert refusal == str(advice)
    assert "is under way; wait until it has ended. Next: `tailorbird status`." in refusal
    assert step(*arguments).stage is Stage.EMPTY

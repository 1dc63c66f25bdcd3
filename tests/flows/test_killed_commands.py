"""Commands that are killed, or end because the services are stopped: what Prefect shows of their runs."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from infra.configuration.settings import Settings
from infra.prefect_api import flow_runs
from infra.prefect_api.client import login_headers
from infra.services import endpoints
from infra.services.http_client import request_json
from infra.supervisor import command_watch, running_commands, startup

if TYPE_CHECKING:
    from conftest import Shop

    from infra.supervisor.running_commands import RunningCommand


def with_a_run(shop: Shop) -> RunningCommand:
    """Wait until the command that was begun has a run in Prefect."""
    for _ in range(1200):
        for command in running_commands.running(shop.var):
            if command.flow_run:
                return command
        time.sleep(0.05)
    raise AssertionError("no command has a run")


def test_the_run_of_a_killed_command_is_marked_as_crashed_by_the_next_command(shop: Shop) -> None:
    with shop.begin("ingest", "complete_journey", str(shop.data)) as command:
        run = with_a_run(shop).flow_run
        assert command.kill()
    now = endpoints.endpoints(Settings(var=shop.var))
    assert flow_runs.state_of(flow_runs.find_run(now, run)) == flow_runs.RUNNING
    shop.run("ingest", "complete_journey", str(shop.data))
    crashed = flow_runs.find_run(now, run)
    assert crashed is not None
    assert flow_runs.state_of(crashed) == "CRASHED"
    assert "`tailorbird ingest complete_journey" in crashed.state_message
    chosen = {"flow_runs": {"id": {"any_": [run]}}}
    tasks = request_json("POST", f"{now.prefect_api_url}/task_runs/filter", login_headers(now.environment), chosen)
    assert {task["state"]["type"] for task in tasks} <= {"COMPLETED", "CRASHED"}
    assert list((shop.var / running_commands.FOLDER).iterdir()) == []


def test_a_command_that_down_ends_is_named_before_and_over_after_and_prints_what_to_run(shop: Shop) -> None:
    with shop.begin("ingest", "complete_journey", str(shop.data)) as command:
        run = with_a_run(shop)
        os.kill(run.pid, signal.SIGSTOP)  # an ingest of known files may end before it looks for the request
        assert any("`tailorbird ingest complete_journey" in line for line in startup.under_way(Settings(var=shop.var)))
        run.request_end()
        time.sleep(command_watch.EVERY)
        os.kill(run.pid, signal.SIGCONT)
        code, out, err = command.ended()
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        "tailorbird: `tailorbird down` stops the services, so this command ends. "
        "Nothing is lost: run `tailorbird up`, then the same command again."
    ]
    shop.run("ingest", "complete_journey", str(shop.data))
    now = endpoints.endpoints(Settings(var=shop.var))
    # A step that is interrupted in a driver reports a failure.
    assert flow_runs.state_of(flow_runs.find_run(now, run.flow_run)) in {"CRASHED", "FAILED"}

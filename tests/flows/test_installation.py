"""The running installation: secrets, files, commands that are killed or ended, and the storefront."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx
import psutil

from flows.commands.storefront import new_keys
from infra.keys.recorded_api_keys import list_keys
from infra.prefect_api import flow_runs
from infra.services import ports, state_file
from infra.supervisor import command_watch, running_commands, startup
from tests.waiting import until

if TYPE_CHECKING:
    from conftest import Shop

    from infra.installation import Installation
    from infra.supervisor.running_commands import RunningCommand

PAGES = ("/", "/sign-in", "/search")


def environments(shop: Shop) -> dict[str, set[str]]:
    """Return the names of the variables of each service and its children."""
    variables: dict[str, set[str]] = {}
    for name, service in state_file.load(shop.var).items():
        assert service.running is not None
        first = psutil.Process(service.running.pid)
        for process in [first, *first.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                variables.setdefault(name, set()).update(process.environ())
    return variables


def test_no_service_knows_a_secret_of_the_shell_that_it_does_not_need(shop: Shop) -> None:
    variables = environments(shop)
    assert set(variables) == {"postgres", "prefect", "mlflow", "docs", "api", "worker", "reconciler", "supervisor"}
    for name, of_service in variables.items():
        assert not {"SMTP_PASSWORD", "GITHUB_TOKEN"} & of_service, name
    stores = {name for name, of_service in variables.items() if "AWS_SECRET_ACCESS_KEY" in of_service}
    assert stores == {"worker", "reconciler", "supervisor"}  # the last one starts the others again
    assert not [variable for variable in variables["postgres"] if "SECRET" in variable or "PASSWORD" in variable]


def test_the_doctor_finds_no_fault_of_an_installation_that_runs(shop: Shop) -> None:
    assert {finding["part"]: finding["state"] for finding in shop.json("doctor")} == dict.fromkeys(
        ("packages", "settings", "disks", "secrets", "services", "keys", "schema", "clock", "schedules"), "ok"
    )


def test_nobody_else_can_read_anything_that_the_demo_left(stocked: Shop) -> None:
    opened = [
        str(path)
        for path in [stocked.var, *stocked.var.rglob("*")]
        if not path.is_symlink() and not path.is_socket() and path.stat().st_mode & 0o077
    ]
    assert opened == []
    assert (stocked.var / "lake" / "events").is_dir()
    assert list((stocked.var / "mlflow" / "artifacts").iterdir())


def test_the_form_of_ingest_names_no_mapping_and_no_form_loads_the_demos_data_into_a_real_shop(shop: Shop) -> None:
    form = shop.prefect("GET", "/deployments/name/ingest/ingest")["parameter_openapi_schema"]
    assert form["required"] == ["mapping"]
    assert "default" not in form["properties"]["mapping"]


def with_a_run(shop: Shop) -> RunningCommand:
    """Wait until the command that was begun has a run in Prefect."""
    return until(
        lambda: [command for command in running_commands.running(shop.var) if command.flow_run],
        60,
        "no command has a run",
    )[0]


def test_the_run_of_a_killed_command_is_marked_as_crashed_by_the_next_command(shop: Shop) -> None:
    with shop.begin("ingest", "complete_journey", str(shop.data)) as command:
        run = with_a_run(shop).flow_run
        assert command.kill()
    now = shop.services
    assert flow_runs.state_of(flow_runs.find_run(now, run)) == flow_runs.RUNNING
    shop.run("ingest", "complete_journey", str(shop.data))
    crashed = flow_runs.find_run(now, run)
    assert crashed is not None
    assert flow_runs.state_of(crashed) == "CRASHED"
    assert "`tailorbird ingest complete_journey" in crashed.state_message
    tasks = shop.prefect("POST", "/task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
    assert {task["state"]["type"] for task in tasks} <= {"COMPLETED", "CRASHED"}
    assert list((shop.var / running_commands.FOLDER).iterdir()) == []


def test_a_command_that_down_ends_is_named_before_and_over_after_and_prints_what_to_run(shop: Shop) -> None:
    with shop.begin("ingest", "complete_journey", str(shop.data)) as command:
        run = with_a_run(shop)
        os.kill(run.pid, signal.SIGSTOP)  # an ingest of known files may end before it looks for the request
        assert any("`tailorbird ingest complete_journey" in line for line in startup.under_way(shop.settings))
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
    now = shop.services
    # A step that is interrupted in a driver reports a failure.
    assert flow_runs.state_of(flow_runs.find_run(now, run.flow_run)) in {"CRASHED", "FAILED"}


def test_the_keys_of_the_shop_end_with_it(installation: Installation) -> None:
    with new_keys(installation.engine, "ann") as keys:
        rows = list_keys(installation.engine)
        assert [(row["name"], row["scopes"], row["state"]) for row in rows] == [
            ("shop", ["read", "write", "privacy"], "valid"),
            ("storefront", ["collect"], "valid"),
        ]
        assert [row["key_id"] in key for row, key in zip(rows, keys, strict=True)] == [True] * 2
    assert [(row["state"], row["revoked_by"]) for row in list_keys(installation.engine)] == [("revoked", "ann")] * 2


def test_the_command_opens_a_shop_with_the_lists_of_the_installation_until_it_is_stopped(stocked: Shop) -> None:
    port = ports.free(stocked.ports + 500)
    command = stocked.start("shop", "--port", str(port), "--actor", "shop test")
    pages: dict[str, str] = {}
    until = time.monotonic() + 60
    while not pages:
        assert command.poll() is None, command.communicate()
        assert time.monotonic() < until
        with suppress(httpx.TransportError):
            pages = {path: httpx.get(f"http://127.0.0.1:{port}{path}").text for path in PAGES}
        time.sleep(0.05)
    assert 'class="shelf"' in pages["/"]
    assert "Household household-0001" in pages["/sign-in"], pages["/sign-in"]
    desk = httpx.get(f"http://127.0.0.1:{port}/operator/history", follow_redirects=True)
    assert desk.url.port != port
    assert "Sign in as an operator" in desk.text
    assert pages["/search"].count("data-item=") == 24
    is_started_by_nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    command.send_signal(signal.SIGTERM if is_started_by_nohup else signal.SIGHUP)  # the latter becomes the former
    _, messages = command.communicate(timeout=30)
    assert command.returncode == 0, messages
    assert f"The shop is open at http://127.0.0.1:{port}" in messages
    revoked = stocked.sql("SELECT revoked_at IS NOT NULL FROM api_keys WHERE created_by = 'shop test'")
    assert revoked == [["t"]] * 2

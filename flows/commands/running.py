"""Shared functions of the commands: connect to the services, run a flow, print."""

import contextlib
import gc
import json
import os
import sys
from collections.abc import Callable
from functools import partial, wraps
from getpass import getuser
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer
from typer.core import TyperGroup

from models.primitives.escaping import for_terminal
from models.primitives.json_types import JsonObject

if TYPE_CHECKING:
    from infra.configuration.settings import Settings
    from infra.database.engine import Engine
    from infra.services.endpoints import Endpoints

Login = Literal["reader", "serving", "ingest", "operator", "owner"]
"""The database role of a command: see `infra.services.database_access.grants`."""
_LEAST_MINUTES: Final = 0.01
_COMMANDS: Final = {"rollback": "rollback model", "privacy": "privacy continue", "retention": "privacy retention"}
"""The commands of flows with another name."""
_MAY_BE_IDLE: Final = ("monitor", "audit")
"""Scheduled steps that do not fail if they have nothing to do."""
_FINAL_RESULTS: Final = (
    "status",
    "check",
    "ledger_entry",
    "experiment_views",
    "compact",
    "audit",
    "backtest",
    "drift",
    "rollback",
    "undo_preview",
    "dismissed",
    "dead_letter",
    "model_export",
    "segment_request",
    "privacy_receipt",
    "ledger_batches",
    "quarantine",
    "rows",
)
"""Results without a next command, or that name it themselves. Tables have none."""
_WITH_SITUATION: Final = ("review", "retrain", "decision")
"""Results that end with the situation of the installation."""
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def account() -> str:
    """Return the user's name from the environment, else from the account, else `uid-` with its number."""
    with contextlib.suppress(KeyError, OSError):  # containers: Python 3.13 raises OSError, earlier ones KeyError
        if name := getuser().strip():
            return name
    return f"uid-{os.getuid()}"


def group(help_text: str | None = None) -> typer.Typer:
    """Return an empty group of commands; one with a common first word needs a help text."""
    return typer.Typer(no_args_is_help=True, help=help_text)


class _WithDefault(TyperGroup):
    """A group with a default command, for first words that name no command."""

    default = ""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the default command before words that name no command."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = [self.default, *args]
        return super().parse_args(ctx, args)


def group_with_default(default: str, help_text: str) -> typer.Typer:
    """Return an empty group of commands with a default command."""
    return typer.Typer(cls=type("Group", (_WithDefault,), {"default": default}), help=help_text)


def confirm(question: str, otherwise: str) -> None:
    """Ask on the terminal; end the command after a no.

    Without a terminal it raises TailorbirdError with `otherwise`.
    """
    from models.errors import TailorbirdError

    if not sys.stdin.isatty():
        raise TailorbirdError(f"Nothing was changed: nobody can be asked here. {otherwise}")
    if not typer.confirm(question, err=True):
        print_message("Nothing was changed.")
        raise typer.Exit


def print_message(line: str) -> None:
    """Print a message of one or more lines to stderr, for people and not for programs that read the output."""
    with contextlib.suppress(OSError):  # a closed stream or a full disk
        print(for_terminal(line, allowed="\n"), file=sys.stderr, flush=True)


def current_settings() -> "Settings":
    """Return the settings of this process."""
    from infra.configuration.settings import load

    return load()


def start(*, demo: bool = False, stores_only: bool = False) -> "Endpoints":
    """Start the services, connect this process with them, and return their addresses."""
    from infra.overview import settings_shown
    from infra.services.endpoints import export
    from infra.supervisor import startup as services

    for line in settings_shown.unknown_variables():
        print_message(line)
    endpoints = services.start(current_settings(), print_message, demo=demo, stores_only=stores_only)
    export(endpoints)
    return endpoints


def database(role: Login, *, compared: bool = True) -> "Engine":
    """Open Tailorbird's database as a role. The other services need not run.

    With `compared` it raises InstallationRefusedError when this host's keys or `var` belong to another database.
    """
    from infra.database.engine import engine
    from infra.keys import trust
    from infra.services.database_access.logins import address

    settings = current_settings()
    opened = engine(address(settings, role))
    if compared:
        trust.check_reader(opened, settings)
    return opened


def export() -> None:
    """Set the addresses of the services in this process's environment. The services need not run."""
    from infra.services.endpoints import endpoints, export

    export(endpoints(current_settings()))


def connect(*optional: str) -> None:
    """Connect this process with the services. Raises TailorbirdError when one that is not `optional` does not run."""
    from infra.services.endpoints import endpoints
    from infra.services.settings_in_use import of_this_shell
    from infra.supervisor import running_commands
    from infra.supervisor.probes import NEEDED, ensure

    for line in of_this_shell(current_settings()):
        print_message(line)
    export()
    ensure(current_settings(), set(NEEDED) - set(optional))
    with contextlib.suppress(OSError):  # not required: `up` and the reconciler do it too
        running_commands.mark_crashed(endpoints(current_settings()), current_settings().var)


def flow(name: str, *optional: str) -> Any:
    """Connect this process with the services, except `optional` ones that do not run, and return a flow."""
    from infra.private_files.error_log import take_native_output
    from infra.supervisor.probes import NEEDED

    connect(*optional)
    refuse_early(_COMMANDS.get(name, name))
    take_native_output()
    # `main` prints each error once; the run's page has them all.
    for logs in ("HANDLERS_CONSOLE", "INTERNAL"):
        os.environ.setdefault(f"PREFECT_LOGGING_{logs}_LEVEL", "CRITICAL")
    return partial(_recorded, frozenset(NEEDED) - set(optional), getattr(_imported(f"flows.{name}"), name))


def _imported(module: str) -> Any:
    """Import a module without garbage collection, which takes a tenth of the time and finds nothing."""
    from importlib import import_module

    gc.disable()
    try:
        return import_module(module)
    finally:
        gc.freeze()
        gc.enable()


def _recorded(needed: frozenset[str], run: Any, *parameters: Any, **keywords: Any) -> Any:
    """Run a flow with a record: `down` ends it, and if this process is killed, its run is marked as crashed."""
    from prefect.runtime import flow_run

    from infra.supervisor import command_watch

    work = command_watch.begin(current_settings(), needed, print_message)
    recorded_run = run.with_options()

    @wraps(run.fn)
    def with_record(*given: Any, **by_name: Any) -> Any:
        work.note_flow_run(flow_run.id or "")
        return run.fn(*given, **by_name)

    recorded_run.fn = with_record
    done = False
    try:
        result = run_without_heartbeats(recorded_run, *parameters, **keywords)
        done = True
    finally:
        work.end(forget=done)  # for another end, Prefect may not know it yet
    return result


def schedule(deployment: str, name: str, cron: str, zone: str, parameters: JsonObject) -> None:
    """Run a deployment at the times of a cron line, and print the name of the schedule."""
    import re

    from infra.prefect_api import schedules

    connect()
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    schedules.set_schedule(deployment, slug, cron, zone, parameters)
    print_message(f"Scheduled as {slug}: {cron} ({zone}). See it with: tailorbird schedules list")


def run_without_heartbeats(run: Callable[..., Any], *parameters: Any, **keywords: Any) -> Any:
    """Run a flow without heartbeats: a flow with heartbeats waits up to a second at its end.

    The user sees when a command dies. Runs of the worker send heartbeats: see `infra.supervisor.commands`. Raises
    TailorbirdError for a value that the flow's form would refuse.
    """
    from prefect.exceptions import ParameterTypeError
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from models.errors import TailorbirdError

    try:
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):  # no variable can express this
            return run(*parameters, **keywords)
    except ParameterTypeError as error:
        faults = str(error).partition("\n - ")[2].replace("\n - ", "; ")
        raise TailorbirdError(f"A value cannot be used: {faults}. Correct it; `--help` lists the options.") from None


def refuse_early(command: str) -> None:
    """Raise TailorbirdError with the next command if this one cannot run yet."""
    from infra.overview.situation import why_not
    from models.errors import TailorbirdError
    from models.monitoring.guidance.next_step import NEEDS

    if command not in NEEDS or command in _MAY_BE_IDLE:
        return
    if reason := why_not(command, database("serving"), current_settings()):
        raise TailorbirdError(reason)


def print_next_step(*, brief: bool = False) -> None:
    """Print the situation, unless it was just shown (`brief`), and the next command."""
    from infra.overview.situation import step
    from serving.terminal import status

    with contextlib.suppress(Exception):  # the work is done and shown: a failed hint must not fail it
        status.print_next_step(step(database("serving"), current_settings()), brief=brief)


def minutes_left(context: typer.Context, minutes: float) -> float:
    """Return the remaining minutes of a command, counted from the start of its process."""
    began = context.find_root().obj or monotonic()
    return max(_LEAST_MINUTES, minutes - (monotonic() - began) / 60)


def finish(kind: str, result: Any, as_json: bool) -> None:
    """Print the result of a command, and the next command after most of them."""
    if as_json:
        print(json.dumps(result, default=str))
        return
    from serving.terminal import screen

    screen.show(kind, result)
    if kind not in (*_FINAL_RESULTS, *screen.TABLES):
        print_next_step(brief=kind in _WITH_SITUATION)

"""What the commands share: how they reach the services, run a flow, and print."""

import contextlib
import gc
import json
import os
import sys
from collections.abc import Callable
from functools import partial, wraps
from time import monotonic
from typing import Annotated, Any, Final, Literal

import typer
from typer.core import TyperGroup

from models.primitives.escaping import for_terminal

Login = Literal["reader", "serving", "ingest", "operator", "owner"]
"""Who a command connects with the database as: see `infra.services.database_access.grants`."""
_LEAST_MINUTES: Final = 0.01
_COMMANDS: Final = {"rollback": "rollback model"}
"""The commands of flows with another name."""
_REPORT_NOTHING: Final = ("monitor", "audit")
"""Scheduled steps for which having nothing to do is no failure."""
_LOOK_UP: Final = ("ledger_entry", "compact", "audit", "drift", "rollback", "undo_preview", "dismissed")
"""Results after which nothing has to be done, or that name the next command themselves."""
_STATED: Final = ("review", "retrain", "decision")
"""Results that end with where the installation stands."""
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def group(about: str | None = None) -> typer.Typer:
    """An empty set of commands; `about` is what its help says when the commands have a common first word."""
    return typer.Typer(no_args_is_help=True, help=about)


class _WithDefault(TyperGroup):
    """Commands of which one is meant if the first word is none of them."""

    default = ""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default command before words that name no command."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = [self.default, *args]
        return super().parse_args(ctx, args)


def group_with_default(default: str, about: str) -> typer.Typer:
    """An empty set of commands, of which `default` is meant if none is named."""
    return typer.Typer(cls=type("Group", (_WithDefault,), {"default": default}), help=about)


def confirm(question: str, otherwise: str) -> None:
    """Ask on the terminal; ends the command after a no. Without a terminal it raises TailorbirdError: `otherwise`."""
    from models.errors import TailorbirdError

    if not sys.stdin.isatty():
        raise TailorbirdError(f"Nothing was changed: nobody can be asked here. {otherwise}")
    if not typer.confirm(question, err=True):
        print_message("Nothing was changed.")
        raise typer.Exit


def print_message(line: str) -> None:
    """Print a message to the person, not to the program that reads the output; it may have several lines."""
    with contextlib.suppress(OSError):  # nobody reads, or the disk behind it is full
        print(for_terminal(line, allowed="\n"), file=sys.stderr, flush=True)


def start(*, demo: bool = False) -> Any:
    """Start the services and connect this process with them; returns where they are."""
    from infra.configuration.settings import load
    from infra.overview import unknown_settings
    from infra.supervisor import startup as services

    for line in unknown_settings.variables():
        print_message(line)
    endpoints = services.start(load(), print_message, demo=demo)
    services.export(endpoints)
    return endpoints


def database(role: Login, *, compared: bool = True) -> Any:
    """Open Tailorbird's database as a role, whether the other services run or not.

    Raises InstallationRefusedError when the keys or the `var` that are here belong to another database, unless they
    are not to be `compared`.
    """
    from infra.configuration.settings import load
    from infra.database.engine import engine
    from infra.keys import trust
    from infra.services.database_access.logins import address

    settings = load()
    opened = engine(address(settings, role))
    if compared:
        trust.check_reader(opened, settings)
    return opened


def export() -> None:
    """Tell this process where the services are, whether they run or not."""
    from infra.configuration.settings import load
    from infra.supervisor import startup as services

    services.export(services.endpoints(load()))


def connect(*spared: str) -> None:
    """Connect this process with the services. Raises TailorbirdError when one that is not `spared` does not run."""
    from infra.configuration.settings import load
    from infra.services.settings_in_use import of_this_shell
    from infra.supervisor import startup as services
    from infra.supervisor.running_commands import crashes

    for line in of_this_shell(load()):
        print_message(line)
    export()
    services.ensure(load(), set(services.NEEDED) - set(spared))
    with contextlib.suppress(OSError):  # a courtesy: `up` and the reconciler do it too
        crashes.mark_crashed(services.endpoints(load()), load().var)


def flow(name: str, *spared: str) -> Any:
    """The flow of that name, with this process connected to the services that run; it can do without the `spared`."""
    from infra.private_files.error_log import take_native_output
    from infra.supervisor.startup import NEEDED

    connect(*spared)
    refuse_early(_COMMANDS.get(name, name))
    take_native_output()
    # Errors are told once, by `main`; the run's page has them all.
    for logs in ("HANDLERS_CONSOLE", "INTERNAL"):
        os.environ.setdefault(f"PREFECT_LOGGING_{logs}_LEVEL", "CRITICAL")
    return partial(_recorded, frozenset(NEEDED) - set(spared), getattr(_imported(f"flows.{name}"), name))


def _imported(module: str) -> Any:
    """Import a module without looking for garbage meanwhile: it takes a tenth of the time, and finds nothing."""
    from importlib import import_module

    gc.disable()
    try:
        return import_module(module)
    finally:
        gc.freeze()
        gc.enable()


def _recorded(needed: frozenset[str], run: Any, *parameters: Any, **named: Any) -> Any:
    """Run a flow that others know of: `down` ends it, and if this process is killed, its run is marked as crashed."""
    from prefect.runtime import flow_run

    from infra.configuration.settings import load
    from infra.supervisor.running_commands import current

    work = current.begin(load(), needed, print_message)
    known = run.with_options()

    @wraps(run.fn)
    def noted(*given: Any, **by_name: Any) -> Any:
        work.note_flow_run(flow_run.id or "")
        return run.fn(*given, **by_name)

    known.fn = noted
    done = False
    try:
        result = run_without_heartbeats(known, *parameters, **named)
        done = True
    finally:
        work.end(forget=done)  # Prefect may not know yet of another end
    return result


def run_without_heartbeats(run: Callable[..., Any], *parameters: Any, **named: Any) -> Any:
    """Run a flow that sends no heartbeats: every flow that does waits up to a second for its sender to end.

    A person sees when a command dies. Runs of the worker do send them: see `infra.supervisor.commands`. Raises
    TailorbirdError for a value that the flow's form would refuse.
    """
    from prefect.exceptions import ParameterTypeError
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from models.errors import TailorbirdError

    try:
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):  # no variable can say this
            return run(*parameters, **named)
    except ParameterTypeError as error:
        faults = str(error).partition("\n - ")[2].replace("\n - ", "; ")
        raise TailorbirdError(f"A value cannot be used: {faults}. Correct it; `--help` lists the options.") from None


def refuse_early(command: str) -> None:
    """Raise TailorbirdError with the next command if this one cannot run yet."""
    from infra.configuration.settings import load
    from infra.overview.situation import why_not
    from models.errors import TailorbirdError
    from models.monitoring.guidance.needs import NEEDS

    if command not in NEEDS or command in _REPORT_NOTHING:
        return
    if reason := why_not(command, database("serving"), load()):
        raise TailorbirdError(reason)


def print_next_step(*, brief: bool = False) -> None:
    """Print where the installation stands, unless that was just shown, and what to run next."""
    from infra.configuration.settings import load
    from infra.overview.situation import step
    from serving.terminal import screen

    with contextlib.suppress(Exception):  # the work is done and shown: no hint makes it fail
        screen.next_step(step(database("serving"), load()), brief=brief)


def minutes_left(context: typer.Context, minutes: float) -> float:
    """Return how many of a command's minutes are left: it began when its process did."""
    began = context.find_root().obj or monotonic()
    return max(_LEAST_MINUTES, minutes - (monotonic() - began) / 60)


def finish(kind: str, result: Any, as_json: bool) -> None:
    """Print what a flow returned."""
    from serving.terminal import screen

    if as_json:
        print(json.dumps(result, default=str))
        return
    screen.result(kind, result)
    if kind not in _LOOK_UP:
        print_next_step(brief=kind in _STATED)


def print_rows(kind: str, rows: list[dict[str, Any]], as_json: bool) -> None:
    """Print rows of the ledger or the quarantine."""
    from serving.terminal import screen

    print(json.dumps(rows, default=str)) if as_json else screen.print_table(kind, rows)

"""The command line. Commands import late, so that `status` and `recommend` need no Prefect, MLflow or pandas."""

import contextlib
import logging
import os
import sys
import threading
from time import monotonic
from typing import Annotated, Final, NoReturn

import typer

from flows.commands import (
    backups,
    experiments,
    ingestion,
    keys,
    modelling,
    privacy,
    reviewing,
    services,
    settings,
    storefront,
    streams,
)
from flows.commands.running import print_message
from infra.private_files.permissions import PRIVATE
from models.errors import TailorbirdError

FAILED: Final = 1
USAGE: Final = 2
DEFECT: Final = 70
STOPPED: Final = 130
_CODES: Final = (
    f"Exit codes: 0 done, {FAILED} a mistake or an outage, {USAGE} wrong usage, {DEFECT} a defect of Tailorbird, "
    f"{STOPPED} stopped by Ctrl-C."
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog=_CODES,
)
app.add_typer(services.app)
app.add_typer(storefront.app)
app.add_typer(settings.app)
app.add_typer(ingestion.app)
app.add_typer(ingestion.ledger_commands, name="ledger")
app.add_typer(modelling.app)
app.add_typer(reviewing.app)
app.add_typer(reviewing.back, name="rollback")
app.add_typer(reviewing.moved, name="model")
app.add_typer(experiments.app, name="experiments")
app.add_typer(ingestion.lake, name="lake")
app.add_typer(services.alerts, name="alerts")
app.add_typer(services.schedules, name="schedules")
app.add_typer(backups.app, name="backup")
app.add_typer(backups.back)
app.add_typer(keys.app, name="keys")
app.add_typer(privacy.app, name="privacy")
app.add_typer(streams.app)
app.add_typer(streams.dead_letters, name="dead-letters")


def _print_version(requested: bool) -> None:
    if requested:
        from infra.configuration.version import git_commit, package_version

        print(f"tailorbird {package_version()} ({git_commit()})")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Checked, reviewed, explainable recommendations, on your own machines."""


def main() -> NoReturn:
    """Run a command. Every error becomes a sentence and an exit code; its traceback goes to the log."""
    began = monotonic()
    os.umask(PRIVATE)
    _open_standard_streams()
    _log_errors_of_threads()
    sys.exit(_run(began))


def _run(began: float) -> int:
    try:
        _refuse_undecodable(sys.argv[1:])
        app(obj=began)
    except SystemExit as ended:
        return _ended(ended)
    except KeyboardInterrupt:
        return _stopped()
    except BaseException as error:
        return _failed(error)
    return 0


def _ended(ended: SystemExit) -> int:
    """Return the exit code of a command that ended by itself, after writing all of its output."""
    try:
        sys.stdout.flush()
    except OSError as error:
        with contextlib.suppress(OSError):  # else Python tries again at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED if isinstance(error, BrokenPipeError) else _failed(error)
    code = ended.code if isinstance(ended.code, int) else FAILED if ended.code else 0
    return _stopped() if code == STOPPED else code


def _stopped() -> int:
    if _explained():
        return FAILED
    print_message("tailorbird: stopped. The same command goes on from here.")
    return STOPPED


def _failed(error: BaseException) -> int:
    """Print the error, the next step and the place of the traceback; return the exit code."""
    from infra.configuration.addresses import redact
    from infra.outages import explain
    from infra.private_files.error_log import record

    if _explained():
        return FAILED
    reason = str(error) if isinstance(error, TailorbirdError) else explain(error)
    if reason is None and isinstance(error, OSError) and error.filename:
        reason = f"{error.strerror}: {error.filename}. Correct that, then run the same command again."
    defect = f"This is a defect of Tailorbird ({type(error).__name__}). Report it with its traceback, please."
    print_message(f"tailorbird: {redact(reason) if reason else defect}")
    if not isinstance(error, TailorbirdError) or error.__cause__ is not None:
        log = record(error)
        print_message(f"The traceback is in {log}" if log else "The traceback could not be written to any folder.")
    return FAILED if reason else DEFECT


def _explained() -> bool:
    """Return whether the reason for the end is printed already, because the services are gone."""
    current = sys.modules.get("infra.supervisor.command_watch")
    return current is not None and current.explained()


def _open_standard_streams() -> None:
    """Open `/dev/null` for streams that the caller closed: otherwise the next file or socket gets their number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", encoding="utf-8"))


def _refuse_undecodable(arguments: list[str]) -> None:
    """Exit with a message if an argument is not UTF-8: neither PostgreSQL nor Prefect could store it."""
    for number, argument in enumerate(arguments, 1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            print_message(
                f"tailorbird: argument {number} is not UTF-8 text. Rename the file, or set LANG as in LANG=C.UTF-8."
            )
            sys.exit(USAGE)


def _log_errors_of_threads() -> None:
    """Write tracebacks to the log that Python would print: errors of threads, of drivers and of finalizers."""

    def log(error: BaseException | None) -> None:
        if error is not None and not isinstance(error, SystemExit):
            from infra.private_files.error_log import record

            record(error)

    logging.raiseExceptions = False  # Prefect's log worker prints errors without its server
    sys.excepthook = lambda _kind, error, _trace: log(error)  # drivers in C print errors of Python callbacks
    threading.excepthook = lambda hook: log(hook.exc_value)
    sys.unraisablehook = lambda hook: log(hook.exc_value)


if __name__ == "__main__":
    main()

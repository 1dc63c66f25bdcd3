"""The command line. It imports late: `status` and `recommend` answer without Prefect, MLflow or pandas."""

import sys
from typing import NoReturn

import typer

from flows.commands import ingestion, lake, modelling, reviewing, schedules, services
from flows.commands.running import say
from models.errors import TailorbirdError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
app.add_typer(services.app)
app.add_typer(ingestion.app)
app.add_typer(modelling.app)
app.add_typer(reviewing.app)
app.add_typer(reviewing.back, name="rollback")
app.add_typer(lake.app, name="lake")
app.add_typer(schedules.app, name="schedules")


def main() -> NoReturn:
    """Run a command; a mistake or an outage that a person can mend is told without a traceback."""
    try:
        app()
    except TailorbirdError as error:
        say(f"tailorbird: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        say("tailorbird: stopped; the same command goes on from here.")
        sys.exit(130)
    except Exception as error:
        from infra.outages import explain

        reason = explain(error)
        if reason is None:
            raise
        say(f"tailorbird: {reason}")
        sys.exit(1)
    sys.exit(0)


if __name__ == "__main__":
    main()

"""Commands of schedules: built-in ones and your own."""

from dataclasses import asdict
from typing import Annotated

import typer

from flows.commands import running
from flows.commands.running import Json

app = running.group("Schedules: built-in ones and your own.")

Slug = Annotated[str, typer.Argument(help="The schedule's name, as `tailorbird schedules list` shows it.")]


@app.command("list")
def schedules_list(as_json: Json = False) -> None:
    """Show every schedule with its deployment, times, parameters and next run."""
    _listed(as_json)


@app.command()
def pause(slug: Slug, as_json: Json = False) -> None:
    """Keep a schedule, but start no runs until it is resumed."""
    _change("pause", slug, as_json)


@app.command()
def resume(slug: Slug, as_json: Json = False) -> None:
    """Start runs of a paused schedule again. The runs that it missed are not made up for."""
    _change("resume", slug, as_json)


@app.command()
def remove(slug: Slug, as_json: Json = False) -> None:
    """Delete a schedule.

    The next change brings a built-in one back: pause it, or change its time in tailorbird.toml.
    """
    _change("remove", slug, as_json)


def _change(action: str, slug: str, as_json: bool) -> None:
    from infra.prefect_api import schedules

    running.connect()
    getattr(schedules, action)(slug)
    _listed(as_json)


def _listed(as_json: bool) -> None:
    from infra.prefect_api import schedules

    running.connect()
    running.finish("schedules", [asdict(row) for row in schedules.list_schedules()], as_json)

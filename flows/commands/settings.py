"""Commands of the settings: write a first file, and show the values in use."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands import running
from flows.commands.running import Json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.configuration.settings import Settings
    from models.lists.rules.placement_config import Placement
    from serving.queries.operator_rules import Layer

app = running.group()


@app.command()
def init(
    files: Annotated[list[str] | None, typer.Argument(help="Further files of --from.", hidden=True)] = None,
    source: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="FILE…", help="Write a mapping for these CSV or Parquet files."),
    ] = None,
    target: Annotated[
        Path, typer.Option("--to", help="The mapping to write; its file name becomes the name of the source.")
    ] = Path("my_shop.toml"),
    consent: Annotated[str | None, typer.Option(help="given, opt-in or opt-out, for the mapping.")] = None,
    consent_note: Annotated[str | None, typer.Option(help="How consent was given, for the mapping.")] = None,
) -> None:
    """Write a commented tailorbird.toml with every setting to this folder; an existing file stays.

    With --from it writes a first mapping instead, guessed from files: tailorbird init --from orders.csv products.csv.
    """
    if source:
        _write_mapping([*source, *(files or [])], target, consent, consent_note)
        return
    if files:
        raise typer.BadParameter(f"Write --from before files: tailorbird init --from {shlex.join(files)}")
    from infra.overview import settings_template

    path = settings_template.write()
    running.print_message(f"Wrote {path}. Set what you need in it, then start everything with: tailorbird up")


@app.command("settings")
def show(as_json: Json = False) -> None:
    """Show every setting with its origin, running processes that use another value, and the rules of placements.

    The rules are those of the placements file and those of operators, with every conflict between both.
    """
    from dataclasses import asdict

    from infra.overview import settings_shown
    from serving.terminal.settings import as_json as rules_as_json
    from serving.terminal.settings import print_rules, print_settings

    given = running.current_settings()
    rows, file = [asdict(row) for row in settings_shown.rows(given)], given.settings_file
    placements, layer, fault = _placement_rules(given)
    if as_json:
        print(json.dumps({"settings": rows, **rules_as_json(placements, layer)}))
    else:
        print_settings(rows, str(file) if file else None)
        print_rules(placements, layer)
    if fault:
        running.print_message(f"The rules of operators cannot be read: {fault}")
    for sentence in [*settings_shown.unknown_variables(), *settings_shown.unknown_schedules(given)]:
        running.print_message(sentence)


def _placement_rules(settings: "Settings") -> "tuple[Mapping[str, Placement], Layer | None, str]":
    """Return the rules of the file, and those of operators, or why they cannot be read."""
    from infra.configuration.placements import configured
    from infra.outages import explain
    from models.errors import TailorbirdError
    from serving.queries.operator_rules import layer_over

    file: Mapping[str, Placement] = {}
    try:
        file = configured(settings)
        return file, layer_over(running.database("serving", compared=False), file), ""
    except Exception as error:
        reason = str(error) if isinstance(error, TailorbirdError) else explain(error)
        if reason is None:
            raise
        return file, None, reason


def _write_mapping(files: list[str], target: Path, consent: str | None, note: str | None) -> None:
    from tasks.ingest.check.draft_mapping import draft_mapping, write_mapping

    draft = draft_mapping(files, target.stem, consent, note)
    write_mapping(draft.text, target)
    for sentence in draft.unused:
        running.print_message(sentence)
    paths = [] if "\nlocation = " in draft.text else files
    if draft.parts:
        running.print_message(f"Wrote {target}, which reads {', '.join(draft.parts)}. Read its comments, then run:")
    else:
        running.print_message(
            f"Wrote {target}, which reads nothing yet. Complete the parts that are commented out, then run:"
        )
    running.print_message(f"  tailorbird check {shlex.join([str(target), *paths])}")

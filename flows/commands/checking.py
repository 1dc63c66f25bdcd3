"""The command that checks files before an ingest."""

from typing import Annotated

import typer

from flows.commands import running
from flows.commands.ingestion import Paths
from flows.commands.running import Json

app = running.group()


@app.command()
def check(
    mapping: Annotated[str, typer.Argument(help="A mapping that comes with Tailorbird, or a .toml file.")],
    paths: Paths = None,
    consent: Annotated[
        str | None, typer.Option(help="given, opt-in or opt-out; by default that of the mapping.")
    ] = None,
    consent_note: Annotated[str | None, typer.Option(help="How consent was given.")] = None,
    rows: Annotated[int, typer.Option(min=1, max=250_000, help="How many rows to read of each file.")] = 5_000,
    as_json: Json = False,
) -> None:
    """Show how a mapping reads the first rows of its files. Nothing is stored, and no service has to run.

    The exit code is 0 if an ingest would accept these rows, and 1 if it would refuse them. The output shows values of
    the files, with raw user ids.
    """
    from tasks.ingest.check.check_mapping import check_mapping
    from tasks.sources.mapping_files import mapping_overrides

    overrides = mapping_overrides(consent=consent, consent_note=consent_note)
    report = check_mapping(mapping, paths or [], overrides, rows)
    running.finish("check", report, as_json)
    if not report["accepted"]:
        raise typer.Exit(1)

"""Commands of the lake, which stores events."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from flows.commands import running
from flows.commands.running import Json

app = running.group("The lake, which stores events.")


@app.command()
def compact(
    keep_days: Annotated[
        int, typer.Option(min=1, max=36_500, help="How many days an older version stays readable.")
    ] = 7,
    as_json: Json = False,
) -> None:
    """Merge small files and delete unneeded ones. No row changes; versions of data sets stay readable."""
    done = running.flow("compact")(keep_days)
    running.finish("compact", done or {"lake": "no events yet"}, as_json)


@app.command()
def show(as_json: Json = False) -> None:
    """Show the files, rows and bytes of the events by month, and the versions that data sets use."""
    from infra.lake import compaction
    from infra.lake.delta_lake import Lake
    from serving.terminal import screen

    table = Lake(running.current_settings().lake).events()
    months = compaction.months(table) if table else []
    total = compaction.total(months)
    versions = compaction.dataset_versions(running.database("operator"))
    if as_json:
        sizes = {**asdict(total), "named_versions": versions, "months": [asdict(month) for month in months]}
        print(json.dumps({"version": table and table.version(), **sizes}))
    else:
        screen.show("lake", [*map(asdict, months), {"month": "all", **asdict(total)}] if months else [])
        listing = ", ".join(map(str, versions)) or "none"
        print(f"Version {table.version() if table else 'none'}; data sets name: {listing}.")
        if advice := compaction.advice(months):
            print(advice)
